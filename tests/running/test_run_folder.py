import json

import pytest

from cueco_tf.evaluation.table import score_table
from cueco_tf.running.run_folder import QUALITY, RunError, RunFolder, columns
from cueco_tf.settings.run import RunConfig

CONFIG = RunConfig("digits")


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"nmi": "high"}', '{"raw_knn_top1": [1]}', "\x00", '"text"']
)
def test_damaged_scores_are_named(folder, text):
    for path, read in (
        (folder.summary, folder.read_summary),
        (folder.evaluation, folder.read_evaluation),
    ):
        assert read() is None
        path.write_text(text)
        with pytest.raises(RunError, match=f"{path.name} cannot be read"):
            read()
        path.write_text(json.dumps({"nmi": 0.5, "online_top1": None, "dataset": "digits"}))
        assert read()["nmi"] == 0.5


@pytest.mark.parametrize("row", ["1," + "x," * 13, "1," * 20, "epoch"])
def test_damaged_metrics_are_named(folder, row):
    folder.write_metrics([{"epoch": 1, "loss": 2.5}], CONFIG)
    assert folder.read_metrics(CONFIG)[0]["loss"] == 2.5
    folder.metrics.write_text(",".join(columns(CONFIG)) + "\n" + row + "\n")
    with pytest.raises(RunError, match=r"metrics\.csv cannot be read"):
        folder.read_metrics(CONFIG)
    early = [name for name in columns(CONFIG) if name not in QUALITY]
    folder.metrics.write_text(",".join(early) + "\n1" + "," * (len(early) - 1) + "\n")
    assert folder.read_metrics(CONFIG)[0].keys() == set(columns(CONFIG))
    folder.metrics.write_text("epoch,loss\n1,2\n")
    with pytest.raises(RunError, match="should have the columns"):
        folder.read_metrics(CONFIG)


def test_the_table_shows_what_is_there():
    scores = {"knn_top1": 0.5, "nmi": 0.25, "online_top1": None, "raw_knn_top1": 0.125}
    lines = score_table(scores).splitlines()
    assert "raw pixels" in lines[0] and "random encoder" not in lines[0]
    assert lines[1].split()[-2:] == ["50.0", "12.5"] and lines[2].split()[-2:] == ["25.0", "-"]
    assert not any("online" in line for line in lines)
    assert "No scores" in score_table({"knn_top1": None})
