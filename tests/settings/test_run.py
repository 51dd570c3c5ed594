"""Configurations: presets, what depends on the data set, what is refused."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cueco_tf.methods.building import build_views
from cueco_tf.settings.choices import PLACED
from cueco_tf.settings.fields import ConfigError, settings_of
from cueco_tf.settings.methods import METHODS, CueCoSettings
from cueco_tf.settings.presets import PRESETS
from cueco_tf.settings.run import RunConfig

# What may be said of a field: values in and out of its range, of its own and of other types.
some_numbers = st.integers(-3, 40) | st.integers() | st.floats() | st.sampled_from([10**400, 2**31])
anything = st.one_of(
    some_numbers,
    st.booleans(),
    st.none(),
    st.text(max_size=5),
    st.lists(st.floats(0, 1) | some_numbers, max_size=4),
    st.dictionaries(st.text(max_size=2), some_numbers, max_size=2),
    st.sampled_from(["digits", "folder:x", "resnet18", "query", [0.2, 1], [1, 0.3, 0], [0.4] * 4]),
)
RUN = [field.name for field in settings_of(RunConfig)]
OWN = [field.name for field in settings_of(CueCoSettings)]


@given(
    st.dictionaries(st.sampled_from([*RUN, *OWN]), anything, max_size=3),
    st.integers(2, 60),
    st.integers(8, 224),
)
@example({"learning_rate": 1e300}, 9, 8)
@example({"loss_weights": [1e300, 0, 0]}, 9, 8)
@example({"key_momentum": [0.99, 1e300]}, 9, 8)
@example({"jitter": [1e300, 0, 0, 0]}, 9, 8)
def test_a_configuration_is_usable_or_names_the_wrong_field(values, images, size):
    own = {name: value for name, value in values.items() if name in OWN}
    run = {name: value for name, value in values.items() if name not in OWN}
    try:
        made = RunConfig(**{"dataset": "digits", **run, "settings": own})
        resolved = made.resolve(images, size, None)
    except ConfigError as error:
        text = str(error)
        assert text.startswith("--" + error.name.replace("_", "-")) and "\n" not in text
        assert error.name in {*values, "clusters", "warmup_epochs"}, "a field that was in order"
        return
    assert 2 <= resolved.settings.clusters <= resolved.settings.queue_size <= images
    assert resolved.steps_per_epoch >= 1 and resolved.epochs * resolved.steps_per_epoch < 2**63
    for name, value in resolved.flat().items():
        if isinstance(value, tuple):
            assert value and np.isfinite(np.float32(value)).all(), name
        elif isinstance(value, float):
            assert math.isfinite(value) and math.isfinite(np.float32(value)), name
    build_views(resolved)  # its own checks agree


def test_the_method_s_settings_and_the_run_s_never_share_a_name():
    for name, method in METHODS.items():
        names = [field.name for field in settings_of(method)]
        assert names and not set(names) & set(RUN)
        assert set(method.presets) <= set(PRESETS)
        for dataset in PRESETS:  # of known names, within their rules
            of_kind = dataset if dataset not in PLACED else f"{dataset}:x.npy"
            config = RunConfig.for_dataset(of_kind, name)
            config.resolve(50_000, config.image_size or 32, 100)


def test_presets_of_run_and_method_give_way_to_what_is_given():
    digits = RunConfig.for_dataset("digits", epochs=3, clusters=7, queue_size=None)
    assert (digits.epochs, digits.width, digits.flip) == (3, 16, 0.0)
    assert digits.settings == CueCoSettings(
        clusters=7,
        queue_size=1024,
        centroid_temperature=0.2,
        loss_weights=(1.0, 0.3, 0.3),
        ramp_epochs=0,
    )
    large = RunConfig.for_dataset("imagenet100")
    assert (large.image_size, large.settings.queue_size) == (224, 16384)
    assert large.resolve(126_689, 224, 100).learning_rate == 0.12
    for kind in ("cifar10", "cifar100", "folder:x", "array:x.npz", "tfds:x"):
        assert RunConfig.for_dataset(kind) == RunConfig(kind)


def test_a_path_is_a_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    (tmp_path / "photos").mkdir()
    np.save("all.npy", np.zeros((2, 8, 8, 3), np.uint8))
    named = {"photos": "folder:photos", "./digits": "folder:./digits", "all.npy": "array:all.npy"}
    for text, name in (*named.items(), ("digits", "digits"), ("folder:x", "folder:x")):
        assert RunConfig.for_dataset(text).dataset == name
    assert RunConfig.for_dataset("digits").replace(dataset="photos").dataset == "folder:photos"
    assert (
        RunConfig.for_dataset("photos").batch_size == RunConfig.for_dataset("folder:x").batch_size
    )
    with pytest.raises(ConfigError, match="--dataset should be one of"):
        RunConfig.for_dataset("fotos")


def test_what_depends_on_the_data_set_is_filled_in():
    config = RunConfig.for_dataset("cifar100", epochs=3, loss_weights=[1, 0, 0])
    assert config.settings.loss_weights == (1.0, 0.0, 0.0)
    resolved = config.resolve(1000, 32, 100)
    assert resolved.settings.queue_size == 1000 and resolved.settings.clusters == 250
    assert (resolved.image_size, resolved.blur, resolved.solarise) == (32, 0.0, 0.0)
    for images, classes, clusters in (
        (50_000, 100, 1000),
        (50_000, None, 1000),
        (50_000, 10, 100),
        (50, None, 12),
        (3, None, 2),
    ):
        assert config.resolve(images, 32, classes).settings.clusters == clusters
    assert (resolved.channels, resolved.depth) == (3, 8)
    five = RunConfig.for_dataset("folder:photos").resolve(1000, 32, 100, 5, 16)
    assert (five.channels, five.depth) == (5, 16)
    assert (resolved.jitter, resolved.gray) == ((0.4, 0.4, 0.4, 0.1), 0.2)
    assert (five.jitter, five.gray) == ((0.4, 0.4, 0.0, 0.0), 0.0)  # there are no colours
    large = config.replace(blur=0.1).resolve(1000, 224, 100)
    assert (large.blur, large.solarise) == (0.1, 0.2)
    with pytest.raises(ConfigError, match=r"--clusters should be in \[2, queue_size=50\]"):
        config.replace(clusters=60).resolve(50, 32, None)


@pytest.mark.parametrize(
    "given, error, message",
    [
        (dict(seed=-1), ConfigError, "--seed should be at least 0"),
        (dict(momentum=1), ConfigError, r"--momentum should be in \[0, 1\). Received: 1"),
        (dict(key_momentum=[0.9]), ConfigError, "--key-momentum should be two numbers in"),
        (dict(channels=17), ConfigError, r"--channels should be in \[1, 16\]. Received: 17"),
        (dict(depth=12), ConfigError, "--depth should be one of 8, 16. Received: 12"),
        (dict(depth=16), ConfigError, "--depth should be 8: published sets have no"),
        (
            dict(channels=5, encoder="keras:VGG16", weights="imagenet"),
            ConfigError,
            "--weights should be none for images of 5 channels",
        ),
        (dict(hidden_dim=0), ConfigError, "--hidden-dim should be at least 1"),
        (dict(warmup_epochs=4, epochs=3), ConfigError, r"in \[0, epochs=3\]. Received: 4.0"),
        (dict(method="nosuch"), ConfigError, "one of cueco, moco_v2.* Received: 'nosuch'"),
        (dict(method=["cueco"]), ConfigError, "--method should be one of cueco"),
        (dict(cluster=3), TypeError, "CueCo has no option cluster"),
        (dict(train_images=3), TypeError, "no option train_images"),
        (dict(settings={"clusters": 3}), TypeError, "no option settings"),
    ],
)
def test_what_is_no_option_or_out_of_range_is_named(given, error, message):
    with pytest.raises(error, match=message):
        RunConfig.for_dataset("digits", **given)
    with pytest.raises(error, match=message):
        RunConfig.for_dataset("digits").replace(**given)


@pytest.mark.parametrize(
    "method, given, message",
    [
        ("simclr", dict(batch_size=1), "--batch-size should be at least 2: SimCLR compares the"),
        ("vicreg", dict(batch_size=1), "--batch-size should be at least 2: VICReg compares the"),
        ("swav", dict(prototypes=1), r"--prototypes should be in \[2, 16384\]. Received: 1"),
        (
            "swav",
            dict(prototypes=200, queue_size=64),
            r"--prototypes should be at most batch_size \+ queue_size=192. Received: 200",
        ),
        ("swav", dict(epsilon=0.01), r"--epsilon should be in \[0.025"),
        ("byol", dict(queue_size=9), "BYOL has no option queue_size"),
    ],
)
def test_what_a_method_cannot_compare_or_balance_is_refused(method, given, message):
    with pytest.raises((ConfigError, TypeError), match=message):
        RunConfig.for_dataset("digits", method, **given)


def test_queues_are_cut_to_the_number_of_images():
    for method in ("moco_v2", "swav"):
        config = RunConfig.for_dataset("folder:x", method)
        assert config.resolve(3500, 32, None).settings.queue_size == 3500
    swav = config.resolve(500, 32, None).settings
    assert (swav.queue_size, swav.prototypes) == (500, 125)
    with pytest.raises(ConfigError, match=r"--prototypes should be at most .*=4096\."):
        RunConfig.for_dataset("folder:x", "swav", prototypes=5000)


@pytest.mark.parametrize(
    "method, recipe, other", [("byol", "lars", "sgd"), ("cueco", "sgd", "lars")]
)
def test_another_optimizer_than_the_recipe_s_wants_a_rate_of_its_own(method, recipe, other):
    assert RunConfig.for_dataset("cifar10", method, optimizer=recipe).learning_rate is None
    with pytest.raises(ConfigError, match=f"--learning-rate should be given .*{recipe}.* None"):
        RunConfig.for_dataset("cifar10", method, optimizer=other)
    config = RunConfig.for_dataset("cifar10", method, optimizer=other, learning_rate=0.1)
    assert (config.optimizer, config.learning_rate) == (other, 0.1)


def test_recipes_hold_for_sets_of_the_user_s_own_too():
    byol = RunConfig.for_dataset("folder:x", "byol", learning_rate=0.5)
    assert (byol.optimizer, byol.learning_rate, byol.epochs) == ("lars", 0.5, None)
    large = RunConfig.for_dataset("imagenet100", "byol")
    assert (large.image_size, large.first_blur, large.blur) == (224, 1.0, 0.1)
    assert (large.settings.predictor_dim, large.epochs) == (8192, 400)
    assert large.resolve(126_689, 224, 100).learning_rate == 0.5
    assert RunConfig.for_dataset("cifar10", "cueco").optimizer == "sgd"
    for method in METHODS:  # wherever the images lie
        folder = RunConfig.for_dataset("folder:x.npy", method)
        for kind in PLACED:
            dataset = f"{kind}:x.npy"
            other = RunConfig.for_dataset(dataset, method)
            assert other == dataclasses.replace(folder, dataset=dataset)
            rate = folder.resolve(1500, 32, None).learning_rate
            assert other.resolve(1500, 32, None).learning_rate == rate


def test_a_configuration_takes_the_settings_of_its_own_method_alone():
    @dataclasses.dataclass(frozen=True)
    class Other(CueCoSettings):
        pass

    with pytest.raises(ConfigError, match="--settings should be an object of CueCo's settings"):
        RunConfig("digits", settings=Other())
    assert RunConfig("digits", settings=CueCoSettings()) == RunConfig("digits")
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig("digits").settings.clusters = 3


def test_differences_name_plain_fields_of_run_and_method():
    config = RunConfig.for_dataset("digits")
    other = config.replace(epochs=7, temperature=0.5)
    assert config.differences(config) == {}
    assert config.differences(other) == {"epochs": (100, 7), "temperature": (0.2, 0.5)}


@pytest.mark.parametrize(
    ("images", "batch_size", "epochs", "rate"),
    [
        (20, 20, 800, 0.03125),
        (300, 64, 800, 0.1),
        (1500, 64, 400, 0.1),
        (3000, 128, 200, 0.2),
        (4096, 256, 200, 0.4),
        (1_300_000, 256, 200, 0.4),
    ],
)
def test_batches_epochs_and_rate_suit_the_number_of_images(images, batch_size, epochs, rate):
    config = RunConfig.for_dataset("folder:x").resolve(images, 32, None)
    assert (config.batch_size, config.epochs, config.learning_rate) == (batch_size, epochs, rate)
    given = RunConfig.for_dataset("folder:x", batch_size=512, epochs=3).resolve(images, 32, None)
    assert (given.batch_size, given.epochs, given.learning_rate) == (512, 3, 0.8)
    digits = RunConfig.for_dataset("digits").resolve(images, 32, None)
    assert (digits.batch_size, digits.epochs, digits.learning_rate) == (128, 100, 0.12)
    for method, recipe in {"byol": 1.0, "simclr": 0.4}.items():
        config = RunConfig.for_dataset("folder:x", method).resolve(images, 32, None)
        assert config.learning_rate == recipe * batch_size / 256
        assert config.replace(learning_rate=0.7).resolve(images, 32, None).learning_rate == 0.7
    published = RunConfig.for_dataset("cifar10", "byol", batch_size=1024)
    assert published.resolve(50_000, 32, 10).learning_rate == 4.0
