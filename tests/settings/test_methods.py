"""One declaration a setting: it is also the argument of the model's constructor and its check."""

import inspect
import pkgutil

import pytest

from cueco_tf.running.run_folder import columns
from cueco_tf.settings.methods import METHODS, CueCoSettings
from cueco_tf.settings.run import RunConfig


@pytest.mark.parametrize("method", METHODS)
def test_settings_are_arguments_of_the_model_with_the_same_defaults(method):
    kind = METHODS[method]
    parameters = inspect.signature(pkgutil.resolve_name(kind.model).__init__).parameters
    for name, value in kind().arguments(steps_per_epoch=10).items():
        default = parameters[name].default
        assert default is inspect.Parameter.empty or default == value, name


def test_epochs_become_steps():
    arguments = CueCoSettings(warmup_epochs=1.5, ramp_epochs=0.26, clusters=5).arguments(11)
    assert (arguments["warmup_steps"], arguments["ramp_steps"]) == (16, 3)  # of 16.5 and 2.86
    assert arguments["num_clusters"] == 5
    assert not {"warmup_epochs", "ramp_epochs", "clusters"} & set(arguments)
    unset = CueCoSettings().arguments(11)
    assert unset["warmup_steps"] is None and unset["ramp_steps"] is None


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("num_clusters", 1, r"in \[2, queue_size=48\]"),
        ("num_clusters", 49, r"in \[2, queue_size=48\]"),
        ("queue_size", 1, "at least 2"),
        ("hidden_dim", 0, "at least 1"),
        ("temperature", 0, "positive"),
        ("temperature", float("nan"), "positive"),
        ("temperature", 1e-5, "at least 0.0001"),
        ("key_momentum", (0.9, 1.1), r"two numbers in \[0, 1\]"),
        ("variance_floor", 0, r"in \(0, 4\]"),
        ("loss_weights", (0, 0, 0), "three numbers in .*, not all 0"),
        ("assign_by", "both", "one of key, query"),
        ("refresh_steps", -1, "at least 0"),
        ("warmup_steps", -1, "at least 0"),
        ("ramp_steps", -1, "at least 0"),
    ],
)
def test_arguments_are_held_against_the_rules_of_the_settings(name, value, words):
    good = CueCoSettings(clusters=5, queue_size=48).arguments(steps_per_epoch=10)
    CueCoSettings.check_arguments(**good)
    CueCoSettings.check_arguments(**{**good, "ramp_steps": 10**6})  # more steps than epochs may be
    message = f"`{name}` should be {words}. Received: {name}="
    with pytest.raises(ValueError, match=message):
        CueCoSettings.check_arguments(**{**good, name: value})


def test_what_cueco_writes_and_prints_an_epoch():
    assert columns(RunConfig("digits")) == (
        *("epoch", "loss", "info_nce", "centroid_contrast", "cluster_variance", "learning_rate"),
        *("key_momentum", "usage_entropy", "dead_clusters", "reseeded_clusters", "mean_variance"),
        *("images_per_second", "knn_top1", "online_top1", "effective_rank", "silhouette"),
    )
    assert CueCoSettings.cells() == [
        ("L1", "info_nce", ".3f"),
        ("L2", "centroid_contrast", ".3f"),
        ("L3", "cluster_variance", ".3f"),
        ("usage", "usage_entropy", ".2f"),
        ("dead", "dead_clusters", ".0f"),
        ("re-seeded", "reseeded_clusters", ".0f"),
    ]


def test_a_loss_that_rises_with_the_pull_is_explained_once():
    settings = RunConfig.for_dataset("cifar100", epochs=10).settings
    notes = {epoch: settings.note(epoch, 10) for epoch in range(1, 11)}
    assert [epoch for epoch, note in notes.items() if note] == [3]
    assert "weight that rises over 7 epochs: the loss may rise" in notes[3]
    at_once = RunConfig.for_dataset("digits", epochs=20, warmup_epochs=0).settings
    assert "rises over" not in at_once.note(1, 20) and at_once.note(2, 20) is None
    assert RunConfig.for_dataset("digits", epochs=1).settings.note(1, 1) is None  # it is over
    alone = RunConfig.for_dataset("digits", epochs=20, loss_weights=(1, 0, 0)).settings
    assert not any(alone.note(epoch, 20) for epoch in range(1, 21))
