"""`python -m pipelines.reproduce` as its users run it."""

import csv
import json
import signal
import statistics
import subprocess
import sys
import time

import pytest

from cueco_tf.config import RunConfig
from cueco_tf.train import build_parser
from pipelines import reproduce


def start(*arguments):
    command = [sys.executable, "-m", "pipelines.reproduce", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_every_cell_is_an_ordinary_training_command(tmp_path):
    for table, rows in reproduce.TABLES.items():
        for scale in reproduce.SCALES:
            made = reproduce.cells(table, scale, [3, 4], tmp_path)
            assert [cell.seed for cell in made] == [3] * len(rows) + [4] * len(rows)
            for cell in made:
                options = vars(build_parser().parse_args(cell.train[3:]))
                assert options.pop("resume") and options.pop("run_dir") == str(cell.folder.path)
                del options["data_dir"]
                config = RunConfig.for_dataset(**options)
                assert config.seed == cell.seed
                weights = dict(zip(("L1", "L2", "L3"), config.loss_weights, strict=True))
                assert {name for name, weight in weights.items() if weight} == set(cell.row.losses)
    paper = reproduce.cells("table3", "paper", [0], tmp_path)[0].train
    assert paper[paper.index("--epochs") + 1] == "1000"


def test_the_table_tells_differences_from_noise(tmp_path):
    wanted = reproduce.cells("table3", "cpu", [0, 1], tmp_path / "runs")
    values = {"L1": (0.20, 0.21), "L1+L2": (0.30, 0.31), "L1+L3": (0.205, 0.215)}
    for cell in wanted:
        if cell.row.title in values:
            cell.folder.path.mkdir(parents=True)
            top1 = values[cell.row.title][cell.seed]
            scores = dict.fromkeys(("linear_top1", "knn_top1", "nmi", "acc", "ari"), top1)
            (cell.folder.path / "evaluation.json").write_text(json.dumps(scores))
    markdown, table = reproduce.write_table("table3", "cpu", wanted, tmp_path)
    text = markdown.read_text()
    assert "6 of 8 cells done" in text and "not comparable with the paper" in text
    assert "| L1+L2 | 30.5 ± 0.7 | 66.9 | 30.5 ± 0.7 | 54.6 |" in text
    lines = {line.split()[1]: line for line in text.splitlines() if line.startswith("- ")}
    assert "linear top-1 +10.0, NMI" in lines["L1+L2"]
    assert lines["L1+L3"].count("+0.5 (within the seeds' deviation)") == 5
    assert lines["L1+L2+L3:"].endswith("not done yet.")
    rows = list(csv.DictReader(table.open()))
    row = next(row for row in rows if (row["row"], row["score"]) == ("L1+L2", "nmi"))
    assert float(row["mean"]) == pytest.approx(30.5) and row["paper"] == "54.6"
    assert float(row["deviation"]) == pytest.approx(100 * statistics.stdev((0.30, 0.31)), abs=0.01)
    for cell in wanted:
        assert " ".join(cell.train) in text


@pytest.mark.slow
def test_a_stopped_table_goes_on_to_the_end(tmp_path):
    options = ["table2", "--scale", "smoke", "--epochs", "3", "--seeds", "0"]
    options += ["--runs", tmp_path / "runs", "--output", tmp_path / "results"]
    first = start(*options)
    run = tmp_path / "runs" / "digits-smoke-3epochs-L1+L2+L3-seed0"
    while not (run / "metrics.csv").exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    out, err = first.communicate()
    assert first.returncode == 143 and "The same command goes on" in err, out + err
    assert not (tmp_path / "results").exists()

    second = start(*options)
    out, err = second.communicate()
    assert second.returncode == 0, out + err
    text = (tmp_path / "results" / "table2-smoke.md").read_text()
    scores = json.loads((run / "evaluation.json").read_text())
    assert f"| CIFAR-100 | {100 * scores['nmi']:.1f} | 52.37 |" in text
    assert "digits in place of the paper's data set" in text and text in out
    before = (run / "config.json").stat().st_mtime_ns, (run / "evaluation.json").stat().st_mtime_ns

    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"temperature": 0.5}))
    third = start(*options[:-1], tmp_path / "other")
    _, err = third.communicate()
    assert third.returncode == 0, "options that are not given are the run's own"
    (run / "config.json").write_text(json.dumps(config | {"epochs": 4}))
    fourth = start(*options[:-1], tmp_path / "none")
    _, err = fourth.communicate()
    assert fourth.returncode == 2 and "another configuration" in err
    assert not (tmp_path / "none").exists()
    assert before[1] == (run / "evaluation.json").stat().st_mtime_ns
