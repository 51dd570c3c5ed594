"""`python -m pipelines.reproduce` as its users run it."""

import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import time

import pytest

from cueco_tf.settings.command_line import parse
from cueco_tf.settings.methods import METHODS
from cueco_tf.settings.run import RunConfig
from pipelines import reproduce
from pipelines.reproducing.paper_tables import ALL_LOSSES, SCALES, TABLES, cells, rows
from pipelines.reproducing.table_writer import SCORES, write_table


def start(*arguments):
    command = [sys.executable, "-m", "pipelines.reproduce", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("table", TABLES)
def test_every_cell_is_an_ordinary_training_command(table, scale, tmp_path):
    made = cells(table, scale, [3, 4], tmp_path)
    count = len(rows(table, scale))
    assert [cell.config.seed for cell in made] == [3] * count + [4] * count
    assert len({cell.folder.path for cell in made}) == 2 * count
    for cell in made:
        command = next(cell.commands())
        assert str(tmp_path) not in command
        options = parse(command.split()[3:])
        given = {name: options[name] for name in options if name in cell.config.flat()}
        assert RunConfig.for_dataset(**given) == cell.config
        assert cell.config.method == cell.row.method
        if cell.row.method == "cueco":
            weights = dict(zip(ALL_LOSSES, cell.config.settings.loss_weights, strict=True))
            assert {name for name, weight in weights.items() if weight} == set(cell.row.losses)


def test_the_rows_are_the_papers_or_those_asked_for(tmp_path):
    paper = {table: rows(table, "paper") for table in TABLES}
    assert len(paper["table1"]) == 6 * 3 and len(paper["table2"]) == 3 * 2
    assert all(row.paper for own in paper.values() for row in own)
    for table in ("table1", "table2"):
        for scale in ("cpu", "smoke"):
            assert [row.method for row in rows(table, scale)] == list(METHODS)
    chosen = rows("table2", "paper", ["byol", "cueco"])
    assert [row.method for row in chosen] == ["byol", "cueco"] * 2
    assert chosen[0].others == {"ProPos, NMI / ACC / ARI": "81.7 / 89.4 / 79.0"}
    cell = next(c for c in cells("table1", "paper", [0], tmp_path) if c.row.dataset == "cifar10")
    assert cell.config.epochs == 1000 and cell.protocol == "sgd"
    large = [c for c in cells("table1", "paper", [0], tmp_path) if c.row.dataset == "imagenet100"]
    assert {c.config.epochs for c in large} == {400}
    one, other = (
        {cell.folder.path for cell in cells(table, "cpu", [0], tmp_path)}
        for table in ("table1", "table3")
    )
    assert len(one & other) == 1  # CueCo with all its losses is trained once


def put(cell, top1, **fields):
    """A finished run that was evaluated."""
    cell.folder.path.mkdir(parents=True, exist_ok=True)
    cell.folder.summary.write_text("{}")
    scores = dict.fromkeys(SCORES["table1"] + SCORES["table3"], top1)
    scores |= {"dataset": cell.config.dataset, "protocol": cell.protocol, "seed": 0, **fields}
    cell.folder.evaluation.write_text(json.dumps(scores))


def test_the_table_tells_differences_from_noise(tmp_path):
    wanted = cells("table3", "cpu", [0, 1], tmp_path / "runs")
    values = {"L1": (0.20, 0.21), "L1+L2": (0.30, 0.31), "L1+L3": (0.205, 0.215)}
    for cell in wanted:
        if cell.row.title in values:
            put(cell, values[cell.row.title][cell.config.seed])
    markdown, table, figure = write_table("table3", "cpu", wanted, tmp_path)
    text = markdown.read_text()
    assert "6 of 8 cells done" in text and "not comparable with the paper" in text
    ours, paper = " | ".join(["30.5 ± 0.7"] * 5), "66.9 | 54.6 | 34.5 | 14.9 |"
    assert f"| L1+L2 | {ours} | {' | '.join(['30.5 ± 0.7'] * 3)} | {paper}" in text
    assert "- cifar100, L1+L2 against L1: linear top-1 +10.0, NMI" in text
    line = next(line for line in text.splitlines() if "L1+L3 against L1" in line)
    assert line.count("+0.5 (within the seeds' deviation)") == 8
    assert "L1+L2+L3 against" not in text and figure.read_bytes().startswith(b"\x89PNG")
    read = list(csv.DictReader(table.open()))
    row = next(row for row in read if (row["row"], row["score"]) == ("L1+L2", "nmi"))
    assert float(row["mean"]) == pytest.approx(30.5) and row["paper"] == "54.6"
    assert float(row["deviation"]) == pytest.approx(100 * statistics.stdev((0.30, 0.31)), abs=0.01)
    for cell in wanted:
        for command in cell.commands():
            assert command in text
    assert str(tmp_path) not in text + table.read_text()


def test_a_table_of_methods_names_every_protocol(tmp_path):
    wanted = cells("table1", "cpu", [0, 1], tmp_path / "runs")
    top1 = {"cueco": 0.4, "moco_v2": 0.3, "byol": 0.45}
    for cell in wanted:
        if cell.row.method in top1:
            put(cell, top1[cell.row.method] + 0.002 * cell.config.seed, online_top1=0.2)
    markdown, table, _ = write_table("table1", "cpu", wanted, tmp_path)
    text = markdown.read_text()
    heads = (
        "| | linear top-1 | online top-1 | k-NN top-1 | paper, linear top-1 | solo-learn, online |"
    )
    assert heads in text
    assert "| BYOL | 45.1 ± 0.1 | 20.0 ± 0.0 | 45.1 ± 0.1 | 70.18 | 70.46 |" in text
    assert "| SimCLR | - | - | - | - | 65.78 |" in text  # no row of the paper's table
    assert "cifar100, CueCo against MoCo-v2: linear top-1 +10.0, online top-1 +0.0" in text
    assert "CueCo against BYOL: linear top-1 -5.0," in text
    assert "the fast protocol of" in " ".join(text.split()) and "solo-learn: ResNet-18" in text
    read = [row for row in csv.DictReader(table.open()) if row["method"] == "vicreg"]
    assert [row["mean"] for row in read] == [""] * 3 and read[0]["paper"] == "68.54"


def test_a_table_says_which_runs_it_is_without_and_which_diverged(tmp_path, monkeypatch):
    """The last of three, on which the table is written once more."""

    def child(arguments):
        method = arguments[arguments.index("--method") + 1] if "--method" in arguments else "cueco"
        return {"cueco": 0, "byol": 1, "vicreg": 3}[method]

    methods = ["cueco", "byol", "vicreg"]
    options = dict(scale="smoke", seeds=[0], methods=methods, runs=str(tmp_path / "runs"))
    put(cells("table1", "smoke", [0], tmp_path / "runs", methods=methods)[0], 0.5)
    monkeypatch.setattr(reproduce, "run", child)
    with pytest.raises(RuntimeError, match="Some runs are not done"):
        reproduce.reproduce("table1", **options, output=str(tmp_path))
    text = " ".join((tmp_path / "table1-smoke.md").read_text().split())
    told = "1 of 3 cells done (not: BYOL, seed 0; VICReg, seed 0, which ended in NaN or infinity). "
    assert told in text


def test_only_the_right_evaluation_of_a_finished_run_counts(tmp_path):
    (cell,) = cells("table2", "smoke", [0], tmp_path, methods=["cueco"])
    assert cell.scores() is None
    put(cell, 0.5)
    assert cell.scores()["nmi"] == 0.5
    for other in (dict(dataset="cifar10"), dict(protocol="sgd"), dict(seed=1)):
        put(cell, 0.5, **other)
        assert cell.scores() is None
    put(cell, 0.5)
    os.utime(cell.folder.evaluation, (0, 0))  # of the run while it was under way
    assert cell.scores() is None
    cell.folder.evaluation.write_text("{")
    assert cell.scores() is None


def test_equal_seeds_and_methods_are_refused(capsys):
    for arguments, message in (
        (["table3", "--scale", "smoke", "--seeds", "0", "0"], "--seeds should differ"),
        (["table1", "--scale", "smoke", "--methods", "byol", "byol"], "--methods should differ"),
        (["table1", "--scale", "smoke", "--epochs", "0"], "--epochs should be at least 1"),
    ):
        assert reproduce.main(arguments) == 2 and message in capsys.readouterr().err
    with pytest.raises(TypeError, match="`scale` is needed"):
        reproduce.reproduce("table3")
    with pytest.raises(ValueError, match="There is no 'table9', but table1, table2"):
        reproduce.reproduce("table9", scale="smoke")


@pytest.mark.slow
def test_a_stopped_table_goes_on_to_the_end(tmp_path):
    options = ["table2", "--scale", "smoke", "--epochs", "3", "--seeds", "0", "--methods", "cueco"]
    options += ["--runs", tmp_path / "runs", "--output", tmp_path / "results"]
    first = start(*options)
    run = tmp_path / "runs" / "digits-smoke-3epochs-cueco-seed0"
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
    names = ("nmi", "acc", "ari", "z_nmi", "z_acc", "z_ari", "knn_top1")
    values = " | ".join(f"{100 * scores[name]:.1f}" for name in names)
    assert f"| CueCo | {values} |" in text and "1 of 1 cells done" in text
    assert "digits in place of the paper's data set" in text and text in out
    before = (run / "evaluation.json").stat().st_mtime_ns

    places = dict(runs=tmp_path / "runs", output=tmp_path / "results")
    twin = dict(scale="smoke", epochs=3, seeds=[0], methods=["cueco"])
    table = reproduce.reproduce("table2", **twin, **places)
    assert (
        table._repr_markdown_() == text and before == (run / "evaluation.json").stat().st_mtime_ns
    )

    config = json.loads((run / "config.json").read_text())
    config["settings"]["temperature"] = 0.5
    (run / "config.json").write_text(json.dumps(config))
    third = start(*options[:-1], tmp_path / "none")
    _, err = third.communicate()
    assert third.returncode == 2 and "temperature: the run has 0.5, received 0.2" in err
    assert not (tmp_path / "none").exists()
    assert before == (run / "evaluation.json").stat().st_mtime_ns


@pytest.mark.slow
def test_a_short_table_has_a_row_for_each_method(tmp_path):
    methods = ["cueco", "byol", "vicreg"]  # all of them are trained and scored in other tests
    options = ["table1", "--scale", "smoke", "--epochs", "2", "--seeds", "0", "--methods", *methods]
    done = start(*options, "--runs", tmp_path / "runs", "--output", tmp_path / "results")
    out, err = done.communicate()
    assert done.returncode == 0, out + err
    text = (tmp_path / "results" / "table1-smoke.md").read_text()
    assert "3 of 3 cells done" in text
    with open(tmp_path / "results" / "table1-smoke.csv", newline="") as file:
        found = {(row["method"], row["score"]): row["mean"] for row in csv.DictReader(file)}
    for method in methods:
        assert 50 < float(found[method, "knn_top1"]) <= 100
    assert (tmp_path / "results" / "table1-smoke.png").stat().st_size > 10_000
