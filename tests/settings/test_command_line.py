"""Options and fields are the same set, and each makes its way from one to the other and back."""

import re
import subprocess
import sys
import typing

import pytest

from cueco_tf.process import fail, suggest
from cueco_tf.settings.command_line import build_parser, parse, to_arguments
from cueco_tf.settings.fields import ConfigError, settings_of
from cueco_tf.settings.methods import METHODS
from cueco_tf.settings.parser import as_typed
from cueco_tf.settings.run import RunConfig

PLACES = {"data_dir", "cache", "distribute", "run_dir", "resume", "log"}
FILLED_IN = {"train_images", "num_classes", "fingerprint", "start"}
# One value for each field that is neither its default nor a preset.
OTHERS = {
    "dataset": "folder:my photos",
    "eval_dataset": "list:my list.csv",
    "labels": "none",
    "pixel_range": [-1024, 4095.5],
    "max_megapixels": 12.5,
    "channels": 4,
    "depth": 16,
    "encoder": "resnet50",
    "width": 5,
    "weights": "runs/known",
    "freeze_epochs": 3,
    "image_size": 33,
    "epochs": 7,
    "batch_size": 9,
    "optimizer": "lars",
    "learning_rate": 0.123456789,
    "momentum": 0.0,
    "weight_decay": 1e-7,
    "learning_rate_warmup": 0.3,
    "crop_scale": [0.3, 0.9],
    "flip": 0.25,
    "jitter": [0.1, 0.2, 0.3, 0.4],
    "gray": 1,
    "blur": 0.45,
    "solarise": 0.75,
    "first_blur": 0.05,
    "first_solarise": 0.35,
    "holdout": 0.1,
    "precision": "mixed_float16",
    "jit": True,
    "seed": 2**31 - 1,
    "sync_batchnorm": True,
}
OWN = {
    "cueco": {
        "clusters": 12,
        "queue_size": 77,
        "hidden_dim": 6,
        "projection_dim": 3,
        "temperature": 1e-4,
        "centroid_temperature": 1e-3,
        "key_momentum": [0.9, 1],
        "centroid_momentum": 1 / 3,
        "variance_momentum": 0,
        "variance_floor": 4,
        "loss_weights": [0, 1e-8, 16384],
        "assign_by": "query",
        "symmetric": True,
        "warmup_epochs": 0.5,
        "ramp_epochs": 123.456,
        "refresh_steps": 0,
    },
    "moco_v2": {
        "queue_size": 77,
        "hidden_dim": 6,
        "projection_dim": 3,
        "temperature": 1e-4,
        "key_momentum": [0.9, 1],
        "symmetric": False,
    },
    "simclr": {"hidden_dim": 6, "projection_dim": 3, "temperature": 1e-4},
    "byol": {"hidden_dim": 6, "projection_dim": 3, "predictor_dim": 4, "key_momentum": [0.9, 0.95]},
    "vicreg": {"hidden_dim": 6, "projection_dim": 3, "loss_weights": [10, 0, 0.5]},
    "swav": {
        "hidden_dim": 6,
        "projection_dim": 3,
        "prototypes": 12,
        "temperature": 1e-4,
        "epsilon": 0.025,
        "queue_size": 4000,
        "queue_start_epochs": 0.5,
        "prototypes_start_epochs": 0.25,
    },
    "moco_v3": {
        "hidden_dim": 6,
        "projection_dim": 3,
        "predictor_dim": 4,
        "temperature": 1e-4,
        "key_momentum": [0.9, 0.95],
    },
}


def given(arguments):
    return {name: v for name, v in parse(arguments).items() if v is not None and name not in PLACES}


@pytest.mark.parametrize("method", METHODS)
def test_every_field_is_an_option_and_every_option_a_field(method):
    fields = {field.name for owner in (RunConfig, METHODS[method]) for field in settings_of(owner)}
    options = {action.dest for action in build_parser(method)._actions} - {"help"}
    assert options - PLACES == fields - FILLED_IN
    assert options >= PLACES and fields >= FILLED_IN
    assert fields - FILLED_IN - {"method"} == {*OTHERS, *OWN[method]}  # all are tried below


@pytest.mark.parametrize("method", METHODS)
def test_every_option_comes_back_from_its_arguments(method):
    for name, value in {**OTHERS, **OWN[method]}.items():
        options = {"dataset": "folder:photos", "method": method, name: value}
        if name == "freeze_epochs":  # of known weights alone
            options["weights"] = OTHERS["weights"]
        if name == "optimizer":  # whose rate the recipe may not know
            options["learning_rate"] = OTHERS["learning_rate"]
        config = RunConfig.for_dataset(**options)
        preset = RunConfig.for_dataset("folder:photos", method)
        assert name in ("dataset", "optimizer") or config != preset, name  # some have that one
        assert RunConfig.for_dataset(**given(to_arguments(options))) == config, name
    everything = {"method": method, **OTHERS, **OWN[method]}
    config = RunConfig.for_dataset(**everything)
    assert RunConfig.for_dataset(**given(to_arguments(everything))) == config


def test_arguments_say_no_and_leave_out_what_is_not_given():
    options = {"dataset": "digits", "jit": False, "symmetric": False, "blur": None}
    arguments = to_arguments(options)
    assert arguments == ("--dataset", "digits", "--no-jit", "--no-symmetric")
    assert given(arguments) == {"dataset": "digits", "jit": False, "symmetric": False}
    assert set(given([])) == set()  # what is not said does not count as given


def test_the_help_shows_defaults_and_where_presets_differ(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(["--method", "cueco", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0
    for text in (
        "(default: 200, of fewer than 3,000 images up to 800; digits: 100)",
        "(default: 1 3 0.02; digits: 1 0.3 0.3)",
        "(default: the native size; digits: 16; imagenet100: 224)",
        "(default: no)",
        "(default: 3 in 10)",
        "(default: 0.99 0.999)",
        "load_encoder",
        "Exit codes",
    ):
        assert text in shown, text
    options = [action for action in build_parser()._actions if action.dest not in PLACES]
    plain = [action.dest for action in options if "default: " not in action.help]
    assert plain == ["help", "dataset"]


def test_options_of_no_method_and_methods_that_are_none_are_refused(capsys):
    with pytest.raises(
        ConfigError, match=r"--method should be one of cueco, .*\. Received: 'nosuch'"
    ):
        parse(["--method", "nosuch", "--help"])
    for arguments in (
        ["--method", "cueco", "--nosuch", "3"],
        ["--train-images", "3"],
        ["--method"],
    ):
        with pytest.raises(SystemExit) as stop:
            parse(arguments)
        assert stop.value.code == 2 and "error: " in capsys.readouterr().err


def test_a_wrong_value_is_not_answered_with_its_own_option(capsys):
    for arguments in (["--epochs", "x"], ["--epochs"]):
        with pytest.raises(SystemExit):
            parse(arguments)
        assert "Did you mean" not in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse(["--epoch_s", "3"])
    assert "Did you mean --epochs?" in capsys.readouterr().err


def test_an_option_of_another_method_is_refused_by_name(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(["--method", "byol", "--queue-size", "9", "--nosuch=3"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "unrecognized arguments: --queue-size 9 --nosuch=3" in error
    assert "--queue-size is an option of cueco, moco_v2, swav, not of byol." in error


@pytest.mark.parametrize("method", METHODS)
def test_the_help_shows_a_method_s_own_options_with_their_defaults(method, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(["--method", method, "--help"])
    shown = capsys.readouterr().out
    assert stop.value.code == 0
    strange = {name for values in OWN.values() for name in values} - OWN[method].keys()
    for name in {*OWN[method], *strange}:
        found = re.search(rf"^  --{name.replace('_', '-')}[ ,]", shown, re.MULTILINE)
        assert bool(found) == (name not in strange), name
    assert all(other in shown for other in METHODS)


def test_the_methods_are_listed_with_a_line_each():
    script = """
import sys, cueco_tf
listed = cueco_tf.methods()
assert not {"tensorflow", "keras"} & set(sys.modules)
import cueco_tf.methods.health
assert cueco_tf.methods() == listed
for name, line in listed.items():
    print(name, line)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(METHODS)
    assert (
        "byol BYOL: a view predicts, without negatives, what a slow network makes of the other"
        in lines
    )


@pytest.mark.parametrize("method", METHODS)
def test_each_option_takes_the_type_of_its_field(method):
    fields = {f.name: f for owner in (RunConfig, METHODS[method]) for f in settings_of(owner)}
    for name, value in {**OTHERS, **OWN[method]}.items():
        kind, *_ = typing.get_args(fields[name].type) or (fields[name].type,)
        found = given(to_arguments({"method": method, name: value}))[name]
        assert type(found) is (list if kind is tuple else kind), name


def test_settings_import_nothing_heavy():
    script = (
        "import sys, cueco_tf.settings.command_line, cueco_tf.settings.config_file; "
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules), sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_commands_are_called_as_they_were_typed(monkeypatch, capsys):
    text = "Then: python -m pipelines.report RUN, python -m cueco_tf.train --help"
    assert as_typed(text) == text
    monkeypatch.setattr(sys, "argv", ["/opt/bin/cueco-export", "RUN"])
    assert as_typed(text) == "Then: cueco-report RUN, cueco-train --help"
    assert fail("Finish it: python -m cueco_tf.train --resume") == 2
    suggest("python -m pipelines.report a", "python -m pipelines.export a")
    printed = capsys.readouterr()
    assert printed.err == "error: Finish it: cueco-train --resume\n"
    assert printed.out == "Next: cueco-report a\n      cueco-export a\n"
    help_ = build_parser().format_help()
    assert "python -m" not in help_ and "  cueco-train --dataset digits" in help_


@pytest.mark.parametrize(
    "option, value, meant",
    [
        ("dataset", "cifar-100", "cifar100"),
        ("dataset", "Digits", "digits"),
        ("method", "mocov2", "moco_v2"),
        ("encoder", "resnet81", "resnet18"),
        ("precision", "float_32", "float32"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_nearest(option, value, meant):
    with pytest.raises(ConfigError, match=rf"Received: '{value}'\. Did you mean {meant}\?"):
        RunConfig.for_dataset(**{"dataset": "digits", option: value})
    with pytest.raises(ConfigError) as caught:
        RunConfig.for_dataset(**{"dataset": "digits", option: "zzz"})
    assert "Did you mean" not in str(caught.value)
