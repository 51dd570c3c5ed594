"""What a training says of its speed while it lasts."""

import re
import types

import pytest

from cueco_tf.running import recording, showing
from cueco_tf.settings.run import RunConfig


class Clock:
    """Time that passes when told to."""

    now = 1000.0

    def time(self):
        return self.now

    monotonic = time


class Table:
    """The rows of a run folder, in memory."""

    checkpoints, rows = None, ()

    def read_metrics(self, config):
        return self.rows

    def write_metrics(self, rows, config):
        self.rows = rows


@pytest.mark.parametrize("looks_an_epoch", [(20, 31), (31,)])
def test_what_is_compiled_counts_neither_in_the_estimate_nor_in_the_speed(
    monkeypatch, capsys, looks_an_epoch
):
    """Of the first batch, and of the smaller one that the first epoch ends with: 60 and 50 s where
    a step takes 0.1 s."""
    clock, table = Clock(), Table()
    for module in (showing, recording):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(recording.RunRecorder, "_save", lambda recorder: None)
    monkeypatch.setattr(recording.RunRecorder, "_snapshot", lambda recorder, percent: None)
    config = RunConfig.for_dataset("digits", epochs=10).resolve(31 * 128 - 5, 16, 10)
    progress, at = showing.Progress(config), 0
    both = [recording.RunRecorder(table, config, lambda: False), progress]
    for callback in both:
        callback.set_model(types.SimpleNamespace(step=types.SimpleNamespace(numpy=lambda: at)))
        callback.on_train_begin()
    for epoch in range(4):
        for callback in both:
            callback.on_epoch_begin(epoch)
        for look in looks_an_epoch:
            compiled = {20: 60, 31: 50}[look] if epoch == 0 else 0
            clock.now += compiled + 0.1 * (31 * epoch + look - at)
            at = 31 * epoch + look
            for callback in both:
                callback.on_train_batch_end(look - 1, {"loss": 1.0})
        for callback in both:
            callback.on_epoch_end(epoch, {"loss": 1.0})
    shown = progress.bar.format_dict
    progress.close()
    counted = at - shown["initial"]
    assert 62 <= counted <= 93 and counted / (clock.now - progress.bar.start_t) == pytest.approx(10)
    (estimate,) = re.findall(
        r"Estimated time: (\S+) minutes \((\d+) ms a step\)", capsys.readouterr().out
    )
    assert estimate[1] == "100" and float(estimate[0]) < 0.5
    speeds = [row.get("images_per_second") for row in table.rows]
    assert speeds[0] is None and speeds[1:] == pytest.approx([1280] * 3)
