"""What is quickly known to be wrong: one line, exit code 2, no TensorFlow, nothing left behind."""

import json
import os
import shutil
import subprocess
import sys

import pytest

SCRIPT = """
import contextlib, importlib, io, json, os, sys

for module, arguments in json.load(sys.stdin):
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = importlib.import_module(module).main(arguments)
        except SystemExit as stop:
            code = stop.code
    heavy = sorted({"tensorflow", "keras"} & set(sys.modules))
    print(json.dumps([code, err.getvalue(), heavy, sorted(os.listdir())]))
"""


@pytest.fixture
def places(digits_run, digits_export, tmp_path):
    """What the cases name, each a copy that may be spoilt."""
    young = shutil.copytree(digits_run, tmp_path / "young", copy_function=os.link)
    shutil.rmtree(young / "checkpoints")
    lost = shutil.copytree(digits_run, tmp_path / "lost")
    config = json.loads((lost / "config.json").read_text())
    (lost / "config.json").write_text(json.dumps({**config, "dataset": "folder:/nowhere"}))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("a file")
    (tmp_path / "text.keras").write_text("a file")
    (tmp_path / "sets").mkdir()
    made = {path.stem: str(path) for path in tmp_path.iterdir()}
    return {**made, "run": str(digits_run), "export": str(digits_export)}


CASES = [
    ("cueco_tf.train", "--dataset folder:/nowhere", "There is no folder /nowhere"),
    ("cueco_tf.train", "--dataset folder:{empty}", "empty is empty"),
    ("cueco_tf.train", "--dataset folder:{file}", "file is a file"),
    ("cueco_tf.train", "--dataset cifar100 --data-dir new", "cifar100 is not in new"),
    ("cueco_tf.train", "--dataset tfds:cifr100 --data-dir {sets}", "Did you mean cifar100"),
    ("cueco_tf.train", "--dataset imagenet100 --data-dir {sets}", "by hand"),
    ("cueco_tf.train", "--dataset folder:{empty},/nowhere", "empty is empty"),
    ("cueco_tf.train", "--dataset list:{file}", "names no file that is there"),
    ("cueco_tf.train", "--dataset parquet:new/*.parquet", "No file matches new/*.parquet"),
    ("cueco_tf.train", "--dataset parquet:{file}", "cannot be read as Parquet"),
    ("cueco_tf.train", "--dataset tar:{file}", "is no tar that can be read"),
    ("cueco_tf.train", "--dataset tar:{file} --labels none", "--labels should be left out"),
    ("cueco_tf.train", "--dataset digits --eval-dataset tar:{file}", "is no tar that can be"),
    ("cueco_tf.train", "--dataset digits --eval-dataset tar:", "--eval-dataset should be one of"),
    ("cueco_tf.train", "--dataset array:new.npz", "There is no file new.npz"),
    ("cueco_tf.train", "--dataset array:new.mat", "--dataset should be one of"),
    ("cueco_tf.train", "--dataset array:new.npy --labels none", "--labels should be left out"),
    ("cueco_tf.train", "--dataset digits --run-dir {file}", "file is a file"),
    ("cueco_tf.train", "--dataset digits --run-dir {file}/run", "cannot be made or written"),
    ("cueco_tf.train", "--dataset digits --run-dir /proc/x/y", "cannot be made or written"),
    ("cueco_tf.train", "--dataset digits --run-dir {run}", "exists and is not empty"),
    ("cueco_tf.train", "--run-dir {lost} --resume", "is finished"),
    ("cueco_tf.train", "--run-dir {run} --resume --epochs 99", "epochs: the run has"),
    ("cueco_tf.train", "--run-dir new --resume", "holds no run"),
    ("cueco_tf.train", "--dataset digits --encoder keras:MobileNet3", "such as MobileNet or"),
    (
        "cueco_tf.train",
        "--dataset digits --encoder keras:VGG16 --width 8",
        "--width should be left",
    ),
    ("cueco_tf.train", "--dataset digits --encoder file:new.keras", "new.keras (no such file)"),
    ("cueco_tf.train", "--dataset digits --encoder file:{text}", "no network that Keras saved"),
    ("cueco_tf.train", "--dataset digits --encoder python:nosuch:make", "no module nosuch"),
    ("cueco_tf.train", "--dataset digits --encoder python:nosuch", "python:MODULE:FUNCTION"),
    ("cueco_tf.train", "--dataset digits --weights imagenet", "keras:NAME has imagenet's"),
    ("cueco_tf.train", "--dataset digits --weights new", "new (no such file)"),
    ("cueco_tf.train", "--dataset digits --weights {empty}", "is not a run folder"),
    ("cueco_tf.train", "--dataset digits --weights {run}", "a run of resnet10, width 16"),
    ("cueco_tf.train", "--dataset digits --freeze-epochs 1", "begins at random"),
    ("cueco_tf.train", "--datset digits", "Did you mean --dataset?"),
    ("cueco_tf.train", "--dataset digits --epochs many", "invalid int value: 'many'"),
    ("cueco_tf.train", "--dataset digits --method byol --queue-size 9", "option of cueco"),
    ("pipelines.evaluate", "new", "is not a run folder"),
    ("pipelines.evaluate", "{young}", "no checkpoint yet"),
    ("pipelines.evaluate", "{lost}", "There is no folder /nowhere"),
    ("pipelines.evaluate", "{run} --dataset cifar10 --data-dir new", "cifar10 is not in new"),
    ("pipelines.evaluate", "{run} --dataset folder:{empty}", "empty is empty"),
    ("pipelines.evaluate", "{run} --output {empty}", "should name a file"),
    ("pipelines.evaluate", "{run} --output new/scores.json", "There is no folder new"),
    ("pipelines.evaluate", "--embeddings new.npz --output scores.json", "new.npz cannot be read"),
    ("pipelines.evaluate", "{run} --protcol sgd", "Did you mean --protocol?"),
    ("pipelines.report", "new", "is not a run folder"),
    ("pipelines.report", "{young}", "no checkpoint yet"),
    ("pipelines.report", "{lost}", "There is no folder /nowhere"),
    ("pipelines.export", "{lost} --output new", "There is no folder /nowhere"),
    ("pipelines.export", "new", "is not a run folder"),
    ("pipelines.export", "{run} --output {file}/new", "was not written: Not a directory"),
    ("pipelines.embed", "{export} folder:/nowhere --output o.npz", "There is no folder /nowhere"),
    ("pipelines.embed", "{export} cifar10 --data-dir new --output o.npz", "cifar10 is not in new"),
    ("pipelines.embed", "new {empty} --output o.npz", "new"),
    ("pipelines.embed", "{export} tar:{file} --output o.npz", "is no tar that can be read"),
    ("pipelines.embed", "{export} parquet:new/* --output o.npz", "No file matches new/*"),
    ("pipelines.embed", "{export} tar:{file} --split test --output o.npz", "Leave it out"),
    ("pipelines.embed", "{export} /nowhere --output o.npz", "There is no /nowhere"),
    ("pipelines.clusters", "new", "There is no new"),
    ("pipelines.clusters", "{young} --output new", "no checkpoint yet"),
    ("pipelines.clusters", "{lost} --output new", "There is no folder /nowhere"),
    ("pipelines.clusters", "{run} --count 99999 --output new", "at most the number of images"),
    ("pipelines.clusters", "{run} --copy-to new --output new", "Only images that are files"),
    ("pipelines.duplicates", "new.npz", "new.npz"),
    ("pipelines.duplicates", "new.npz --threshold 2", "--threshold should be in [-1, 1]"),
    ("pipelines.search", "new.npz picture.png", "new.npz"),
    ("pipelines.reproduce", "study new.json", "new.json cannot be read"),
    ("pipelines.reproduce", "study new.json --ours 3", "Did you mean --hours?"),
    ("pipelines.benchmark", "training --data-dir new", "cifar100 is not in new"),
    ("pipelines.benchmark", "training --dataset digits --encoder resnet99", "encoder"),
    ("pipelines.benchmark", "inference new", "new"),
    ("pipelines.endurance", "chaos --folder {run}", "is not empty"),
]


def test_what_is_quickly_known_is_refused_before_tensorflow(places, tmp_path):
    (tmp_path / "here").mkdir()
    calls = [(module, line.format(**places).split()) for module, line, _ in CASES]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        cwd=tmp_path / "here",
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    for (module, line, message), result in zip(CASES, results, strict=True):
        code, err, heavy, left = result
        case = module, line, err
        if message == "is finished":  # no refusal, and no need of the data
            assert code == 0, case
        else:
            assert code == 2 and message in err, case
            assert err.startswith("error: ") and len(err.splitlines()) == 1, case
        assert heavy == [] and left == [], (case, heavy, left)
    assert sorted(path.name for path in tmp_path.rglob("*.lock")) == []


@pytest.mark.parametrize("name", ["cueco-train", "cueco-evaluate"])
def test_a_script_calls_itself_by_its_own_name(name):
    module = {"cueco-train": "cueco_tf.train", "cueco-evaluate": "pipelines.evaluate"}[name]
    script = f"import sys; sys.argv[0] = '/bin/{name}'\nfrom {module} import main; main()"
    command = [sys.executable, "-c", script, "--nosuch"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.endswith(f"See: {name} --help\n")
