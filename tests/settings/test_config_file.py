"""config.json: whole again after reading, and refused in one line where it is not this format."""

import json

import pytest

from cueco_tf.running.run_folder import RunError, RunFolder
from cueco_tf.settings import config_file
from cueco_tf.settings.run import RunConfig

CONFIG = RunConfig.for_dataset("digits", key_momentum=(0.5, 1), warmup_epochs=1.5, symmetric=True)
RESOLVED = CONFIG.resolve(1437, 16, 10).on_devices(0)


def test_a_configuration_survives_json(tmp_path):
    path = tmp_path / "config.json"
    config_file.save(RESOLVED, path)
    assert config_file.load(path) == RESOLVED
    fields = json.loads(path.read_text())
    assert list(fields)[:4] == ["format", "dataset", "method", "settings"]
    assert fields["format"] == 2 and fields["settings"]["key_momentum"] == [0.5, 1.0]
    for name in ("channels", "depth"):  # as runs have it that were made before there were others
        del fields[name]
    path.write_text(json.dumps(fields))
    assert config_file.load(path) == RESOLVED
    # Workers send each other one that is not resolved.
    assert config_file.from_dict(json.loads(json.dumps(config_file.to_dict(CONFIG)))) == CONFIG


GOOD = config_file.to_dict(RESOLVED)
FORMER = {"dataset": "digits", "encoder": "resnet10", "clusters": 10, "train_images": 1437}


@pytest.mark.parametrize(
    "fields, message",
    [
        (FORMER, r"as what cueco_tf 0.1 wrote: read it with version 0.1.0 of"),
        ({**GOOD, "format": 3}, "It is of format 3, .* reads format 2"),
        ({**GOOD, "format": "x" * 10_000}, r"It is of format 'x+\.\.\.x+', "),
        ({**GOOD, "clusters": 3}, "It holds unknown fields: clusters."),
        ({**GOOD, "settings": {"cluster": 3}}, "It holds unknown fields: cluster."),
        ({**GOOD, "settings": None}, "It says nothing of clusters."),
        ({**GOOD, "settings": [3]}, "--settings should be an object of CueCo's settings"),
        ({**GOOD, "method": "nosuch"}, "--method should be one of cueco"),
        ({"format": 2}, "It says nothing of dataset."),
        ({**GOOD, "train_images": None}, "It says nothing of train_images."),
        ({**GOOD, "image_size": None}, "It says nothing of image_size."),
        (CONFIG.differences(CONFIG), "It has no format"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(fields, message, tmp_path):
    folder = RunFolder(tmp_path)
    folder.config.write_text(json.dumps(fields))
    with pytest.raises(RunError, match=message) as refusal:
        folder.read_config()
    assert "\n" not in str(refusal.value) and str(folder.config) in str(refusal.value)
