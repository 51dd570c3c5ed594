"""`python -m pipelines.reproduce study` as its users run it."""

import csv
import json
import shlex
from pathlib import Path

import matplotlib
import pytest
from conftest import module

from cueco_tf.settings.command_line import parse
from cueco_tf.settings.run import RunConfig
from pipelines.reporting.style import STYLE
from pipelines.reproducing.study import StudyError, read_trials
from pipelines.reproducing.study_report import draw_study, write_study

COMMON = {"dataset": "digits", "width": 4, "epochs": 2, "warmup_epochs": 1, "holdout": 0.2}


def write(path, **grid):
    grid = {"common": COMMON, "seeds": [0], "variants": [{"loss_weights": [[1, 0, 0]]}], **grid}
    path.write_text(json.dumps(grid))
    return path


def test_a_grid_is_every_combination_once_a_seed(tmp_path):
    variants = [
        {"loss_weights": [[1, 0, 0]]},
        {"clusters": [10, 30], "assign_by": ["key", "query"], "centroid_temperature": [0.1]},
    ]
    trials = read_trials(write(tmp_path / "g.json", variants=variants, seeds=[4, 5]), tmp_path)
    assert [trial.config.seed for trial in trials] == [4] * 5 + [5] * 5
    found = [
        (trial.config.settings.clusters, trial.config.settings.assign_by) for trial in trials[1:5]
    ]
    assert found == [(10, "key"), (10, "query"), (30, "key"), (30, "query")]
    assert trials[0].title == "loss_weights 1 0 0"
    assert trials[1].title == "clusters 10, assign_by key, centroid_temperature 0.1"
    assert len({trial.folder.path for trial in trials}) == 10
    for trial in trials:  # what is printed is what is run
        options = parse(trial.typed().split()[3:])
        known = trial.config.flat()
        given = {name: value for name, value in options.items() if name in known}
        assert RunConfig.for_dataset(**given) == trial.config
        assert str(tmp_path) not in trial.typed()


def test_any_option_may_vary_and_its_command_gives_the_same_configuration(tmp_path):
    common = {"dataset": "folder:my photos", "learning_rate": 0.123456789, "clusters": None}
    variants = [
        {"jit": [False, True], "key_momentum": [[0.9, 1]], "hidden_dim": [64]},
        {"flip": [0], "jitter": [[0.1, 0.2, 0.3, 0.4]], "momentum": [0.8], "symmetric": [True]},
    ]
    trials = read_trials(write(tmp_path / "g.json", common=common, variants=variants), tmp_path)
    assert [trial.config.jit for trial in trials] == [False, True, None]
    for trial in trials:
        options = parse(shlex.split(trial.typed())[3:])
        options = {name: options[name] for name in trial.config.flat() if name in options}
        assert RunConfig.for_dataset(**options) == trial.config
        assert trial.config.learning_rate == 0.123456789
    assert " 'folder:my photos' " in trials[0].typed() and " --no-jit " in trials[0].typed()


def test_the_grids_of_the_results_can_still_be_run(tmp_path):
    grids = sorted((Path(__file__).parents[2] / "docs" / "results").glob("*.json"))
    assert len(grids) >= 7
    for grid in grids:
        for trial in read_trials(grid, tmp_path):
            options = parse(list(trial.train()[1:]))
            options = {name: options[name] for name in trial.config.flat() if name in options}
            assert RunConfig.for_dataset(**options) == trial.config


@pytest.mark.parametrize(
    "grid, message",
    [
        ({"variants": []}, "variants that differ"),
        ({"seeds": [0, 0]}, "seeds that differ"),
        ({"variants": [{"clusters": 10}]}, "list of values"),
        ({"variants": [{"clusters": [1]}]}, r"--clusters should be in \[2, queue_size=1024\]"),
        ({"variants": [{"cluster": [10]}]}, "cannot be run: .* CueCo has no option cluster"),
        ({"variants": [{"num_classes": [10]}]}, "cannot be run: .* no option num_classes"),
        ({"common": {"dataset": 5}}, "--dataset should be text"),
        ({"common": {"dataset": "digits", "method": "nosuch"}}, "--method should be one of cueco"),
        ({"variants": {"clusters": [10]}}, "`variants` in .* should be a list. Received: {"),
        ({"seeds": 0}, "`seeds` in .* should be a list. Received: 0"),
        ({"common": None}, "`common` in .* should be an object. Received: None"),
        ({"budget": 3}, "should hold common, seeds, variants. Received: .*budget"),
    ],
)
def test_a_grid_that_cannot_be_run_is_refused(tmp_path, grid, message):
    with pytest.raises(StudyError, match=message):
        read_trials(write(tmp_path / "g.json", **grid), tmp_path)


def test_a_missing_grid_is_one_line(tmp_path):
    done = module("pipelines.reproduce", "study", tmp_path / "none.json")
    assert done.returncode == 2
    assert done.stderr.startswith("error: The grid ") and done.stderr.count("\n") == 1


def test_long_titles_leave_the_plots_their_room(tmp_path):
    many = {"assign_by": ["key"], "centroid_temperature": [0.1], "centroid_momentum": [0.99]}
    many |= {"variance_momentum": [0.99], "refresh_steps": [0], "crop_scale": [[0.2, 1]]}
    variants = [{**many, "clusters": [10, 20, 30, 40]}]
    trials = read_trials(write(tmp_path / "g.json", variants=variants), tmp_path)
    with matplotlib.rc_context(STYLE):
        figure = draw_study({trial.title: [trial] for trial in trials})
        figure.draw_without_rendering()
    boxes = [plot.get_position() for plot in figure.axes]
    assert len(boxes) == 2
    assert all(box.width > 0.35 and box.height * figure.get_figheight() > 3 for box in boxes)


def test_methods_with_and_without_clusters_of_their_own_stand_in_one_table(tmp_path):
    common, variants = {"dataset": "digits"}, [{"method": ["cueco", "moco_v2"]}]
    trials = read_trials(write(tmp_path / "g.json", common=common, variants=variants), tmp_path)
    for trial in trials:
        scores = dict.fromkeys(("knn_top1", "linear_top1", "nmi", "acc", "ari"), 0.5)
        if trial.config.method == "cueco":
            scores["centroid_nmi"] = 0.25
        trial.folder.create(trial.config.resolve(1000, 16, 10))
        trial.folder.summary.write_text(json.dumps(scores))
    markdown, table, _ = write_study(trials, tmp_path / "g")
    text = markdown.read_text()
    assert f"| method cueco | 1 | {' | '.join(['50.0'] * 5)} | 25.0 | 0.00 |" in text
    assert f"| method moco_v2 | 1 | {' | '.join(['50.0 (+0.0)'] * 5)} | - | 0.00 |" in text
    assert [row["centroid_nmi"] for row in csv.DictReader(table.open())] == ["0.2500", ""]


@pytest.mark.slow
def test_a_study_ends_with_its_budget_and_goes_on(tmp_path):
    variants = [{"loss_weights": [[1, 0, 0]]}, {"clusters": [30]}]
    grid = write(tmp_path / "little.json", variants=variants)
    options = ["study", grid, "--runs", tmp_path / "runs", "--output", tmp_path / "results"]
    first = module("pipelines.reproduce", *options, "--hours", 1 / 3600)
    assert first.returncode == 0, first.stderr
    assert "hours are over. The same command goes on." in first.stdout
    text = (tmp_path / "results" / "little.md").read_text()
    assert "0 of 2 runs done" in text and "| clusters 30 | 0 | - |" in text

    second = module("pipelines.reproduce", *options)
    assert second.returncode == 0, second.stderr
    text = (tmp_path / "results" / "little.md").read_text()
    assert "2 of 2 runs done" in text and text in second.stdout
    assert "a held-out 20% of the training split" in text
    runs = [tmp_path / "runs" / f"little-{v}-seed0" for v in ("loss_weights=1+0+0", "clusters=30")]
    nmi = [100 * json.loads((run / "summary.json").read_text())["nmi"] for run in runs]
    assert f" {nmi[1]:.1f} ({nmi[1] - nmi[0]:+.1f}) |" in text
    rows = list(csv.DictReader((tmp_path / "results" / "little.csv").open()))
    assert [float(row["nmi"]) for row in rows] == pytest.approx([n / 100 for n in nmi], abs=1e-4)
    assert (tmp_path / "results" / "little.png").read_bytes().startswith(b"\x89PNG")
    before = (runs[0] / "summary.json").stat().st_mtime_ns

    third = module("pipelines.reproduce", *options)
    assert third.returncode == 0 and "to do" not in third.stdout
    assert (runs[0] / "summary.json").stat().st_mtime_ns == before
