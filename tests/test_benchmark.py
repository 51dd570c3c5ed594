import json
import shutil

import pytest

from pipelines import benchmark


def test_inference_times_both_sides_in_turn(digits_export, tmp_path, capsys):
    out = tmp_path / "result.json"
    arguments = ["inference", digits_export, "--images", 64, "--rounds", 3, "--output", out]
    assert benchmark.main([str(argument) for argument in arguments]) == 0
    result = json.loads(out.read_text())
    ratios = sorted(onnx / tensorflow for tensorflow, onnx in result["pairs"])
    assert len(ratios) == 3 and result["ratio"] == pytest.approx(ratios[1])
    assert result["precision"] == "float32"
    assert result["tensorflow_batch_size"] in (32, 64)
    shown = capsys.readouterr().out
    assert "ONNX Runtime, batches of 32" in shown and "(median of 3 pairs)" in shown


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["inference", "nowhere"], "nowhere is not an export"),
        (["training", "--dataset", "cifar"], "--dataset should be one of"),
    ],
)
def test_wrong_input_is_refused(arguments, message, capsys):
    assert benchmark.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_files_that_cannot_be_read_or_written_are_named(digits_export, tmp_path, capsys):
    shutil.copytree(digits_export, tmp_path / "export")
    shutil.rmtree(tmp_path / "export" / "saved_model")
    measure = ["inference", str(digits_export), "--images", "4", "--rounds", "1", "--output"]
    for arguments, message in (
        (["inference", str(tmp_path / "export")], "saved_model"),
        ([*measure, str(tmp_path / "no" / "a.json")], "There is no folder"),
        ([*measure, str(tmp_path / "export")], "export"),
    ):
        assert benchmark.main(arguments) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert lines[-1].startswith("error: ") and message in lines[-1]
