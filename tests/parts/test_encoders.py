"""Encoders of any origin take pixels from 0 to 255 and give features."""

import inspect
import sys
import urllib.request

import keras
import numpy as np
import pytest

from cueco_tf.parts.applications import _prepared
from cueco_tf.parts.batch_norm import FusedBatchNormalization, to_stock_layers
from cueco_tf.parts.encoders import encoder_of, from_bytes, to_bytes
from cueco_tf.parts.resnet import build_encoder
from cueco_tf.process import seeded
from cueco_tf.settings.choices import APPLICATIONS
from cueco_tf.settings.fields import ConfigError

SIZE = 32


def network(image_size=SIZE, pooled=True, name="own"):
    x = inputs = keras.Input((image_size, image_size, 3))
    x = keras.layers.Rescaling(1 / 255)(x)
    x = keras.layers.Conv2D(6, 3, use_bias=False)(x)
    x = keras.layers.BatchNormalization(scale=False)(x)
    x = keras.layers.Dropout(0.5)(keras.layers.ReLU()(x))
    if pooled:
        x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, x, name=name)


def nested():
    """Networks within networks, as Keras's own ConvNeXt has them; of images of any size."""
    inner = keras.Input((None, None, 4))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(inner))
    block = [
        keras.layers.Conv2D(6, 3),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5),
    ]
    end = [keras.Sequential(block), keras.layers.GlobalAveragePooling2D()]
    begin = [keras.Input((None, None, 3)), keras.layers.Rescaling(1 / 255)]
    return keras.Sequential([*begin, keras.layers.Conv2D(4, 3), keras.Model(inner, x), *end])


def maps(image_size):
    return network(image_size, pooled=False)


@pytest.fixture(scope="module")
def images(cifar):
    return cifar.test.images[:8]


def test_the_names_are_those_of_keras():
    public = vars(keras.applications).items()
    made = {name for name, value in public if name[0].isupper() and inspect.isfunction(value)}
    assert made == set(APPLICATIONS)


@pytest.mark.parametrize("name", ["MobileNetV3Small", "EfficientNetV2B0", "ConvNeXtTiny"])
def test_a_network_of_keras_has_its_preprocessing_inside(name, images, tmp_path):
    encoder = encoder_of(f"keras:{name}", image_size=SIZE)
    published = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), pooling="avg"
    )
    published.set_weights(encoder.get_weights())
    expected = published.predict(images.astype("float32"), verbose=0)  # they prepare it themselves
    found = encoder.predict(images, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not any(type(layer) is keras.layers.BatchNormalization for layer in encoder.layers)
    to_stock_layers(encoder).save(tmp_path / "encoder.keras")
    loaded = keras.models.load_model(tmp_path / "encoder.keras", safe_mode=True)
    np.testing.assert_allclose(loaded.predict(images, verbose=0), found, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_pixels_are_prepared_as_keras_does_it(name, images):
    inputs = keras.Input((SIZE, SIZE, 3))
    own = keras.Model(inputs, _prepared(keras.layers.Rescaling(1.0)(inputs), name))
    modules = [m for m in vars(keras.applications).values() if hasattr(m, name)]
    prepare = next((m.preprocess_input for m in modules if hasattr(m, "preprocess_input")), None)
    pixels = images.astype("float32")
    expected = pixels if prepare is None else prepare(pixels.copy())
    np.testing.assert_allclose(own.predict(images, verbose=0), expected, rtol=1e-5, atol=1e-3)


def test_pixels_stay_whole_numbers_under_a_mixed_policy():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        encoder = encoder_of("keras:MobileNetV3Small", image_size=SIZE)
    finally:
        keras.config.set_dtype_policy("float32")
    scaled = [layer for layer in encoder.layers if isinstance(layer, keras.layers.Rescaling)]
    assert scaled and all(layer.compute_dtype == "float32" for layer in scaled)
    assert encoder.output.dtype == "float32"


def test_a_file_and_a_function_give_the_users_own(images, tmp_path, monkeypatch):
    own = network()
    own.save(tmp_path / "own.keras")
    (tmp_path / "users_network.py").write_text(
        "import keras\n\n\ndef make(image_size):\n"
        f"    return keras.models.load_model({str(tmp_path / 'own.keras')!r})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    expected = own.predict(images, verbose=0)
    for name in (f"file:{tmp_path / 'own.keras'}", "python:users_network:make"):
        encoder = encoder_of(name, image_size=SIZE)
        np.testing.assert_allclose(encoder.predict(images, verbose=0), expected, atol=1e-6)
        assert any(isinstance(layer, FusedBatchNormalization) for layer in encoder.layers)
        once, again = (np.asarray(encoder(images, training=True)) for _ in range(2))
        np.testing.assert_array_equal(once, again)  # without dropout
    sys.modules.pop("users_network")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_networks_within_networks_are_adapted_too(policy, images, tmp_path):
    own = nested()
    own.save(tmp_path / "own.keras")
    keras.config.set_dtype_policy(policy)
    try:
        encoder = encoder_of(f"file:{tmp_path / 'own.keras'}", image_size=SIZE)
    finally:
        keras.config.set_dtype_policy("float32")
    assert encoder.input_shape == (None, SIZE, SIZE, 3)
    inner = [layer for layer in encoder._flatten_layers() if not layer._layers]
    kinds = [type(layer) for layer in inner]
    assert kinds.count(FusedBatchNormalization) == 2
    assert keras.layers.BatchNormalization not in kinds
    assert {layer.compute_dtype for layer in inner if isinstance(layer, keras.layers.Conv2D)} == {
        policy.removeprefix("mixed_")
    }
    stock = to_stock_layers(encoder)
    inner = [layer for layer in stock._flatten_layers() if not layer._layers]
    assert FusedBatchNormalization not in map(type, inner)
    assert {layer.compute_dtype for layer in inner} == {"float32"}
    expected = own.predict(images, verbose=0)
    np.testing.assert_allclose(stock.predict(images, verbose=0), expected, atol=1e-6)
    once, again = (np.asarray(encoder(images, training=True)) for _ in range(2))
    np.testing.assert_array_equal(once, again)  # without dropout


def test_a_network_comes_back_from_its_bytes(images):
    encoder = encoder_of("keras:MobileNetV3Small", image_size=SIZE)
    again = from_bytes(to_bytes(encoder), "keras:MobileNetV3Small")
    expected = encoder.predict(images, verbose=0)
    np.testing.assert_array_equal(again.predict(images, verbose=0), expected)
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in encoder.layers]
    with pytest.raises(ConfigError, match=r"--encoder should be a network that Keras can save"):
        from_bytes(b"not a network", "file:x.keras")


def test_without_network_the_file_of_known_weights_and_its_place_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.src.backend.config, "_KERAS_DIR", str(tmp_path))
    monkeypatch.setattr(urllib.request, "_opener", None)
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody answers
    with pytest.raises(
        ConfigError,
        match=r"--weights should be downloadable: without network put "
        r"https://storage\.googleapis\.com/\S+no_top\S*\.h5 at ",
    ) as refusal:
        encoder_of("keras:MobileNetV3Small", image_size=SIZE, weights="imagenet")
    assert str(tmp_path / "models") in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


def test_known_weights_are_copied_where_they_fit(images, tmp_path):
    known = to_stock_layers(build_encoder("resnet10", 4, SIZE))
    known.save(tmp_path / "known.keras")
    encoder = encoder_of("resnet10", 4, 16, weights=str(tmp_path / "known.keras"))
    for own, other in zip(encoder.get_weights(), known.get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)
    with pytest.raises(ConfigError, match=r"--weights should be a network whose weight 0 .*\(3, 3"):
        encoder_of("resnet10", 8, SIZE, weights=str(tmp_path / "known.keras"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("file:{}/none.keras", "no such file"),
        ("file:{}/text.keras", "loads with safe_mode"),
        ("file:{}/lambda.keras", "loads with safe_mode"),
        ("file:{}/maps.keras", "end it with global average pooling"),
        ("file:{}/large.keras", "a network for images of 32 pixels"),
        ("python:no_such_module:make", "No module named"),
        ("python:builtins:str", "a functional or sequential keras.Model"),
        ("keras:InceptionV3", "a network for this image size"),
    ],
)
def test_what_is_no_encoder_is_refused_in_a_line(name, words, tmp_path):
    (tmp_path / "text.keras").write_text("not a network")
    inputs = keras.Input((SIZE, SIZE, 3))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x)(inputs)).save(tmp_path / "lambda.keras")
    maps(SIZE).save(tmp_path / "maps.keras")
    network(64).save(tmp_path / "large.keras")
    with pytest.raises(ConfigError, match=words) as refusal:
        encoder_of(name.format(tmp_path), image_size=SIZE)
    assert str(refusal.value).startswith("--encoder should be")
    assert len(str(refusal.value).splitlines()) == 1


def test_imagenet_is_refused_where_there_is_none():
    with pytest.raises(ConfigError, match=r"--weights should be a run or a \.keras file"):
        encoder_of("resnet10", 4, SIZE, weights="imagenet")
    with pytest.raises(ConfigError, match="--weights should be none for images of 5 channels"):
        encoder_of("keras:MobileNetV2", image_size=SIZE, weights="imagenet", channels=5)


@pytest.mark.parametrize("name", ["resnet10", "keras:ConvNeXtTiny", "keras:VGG16"])
def test_an_encoder_takes_any_channels(name, images):
    five = np.concatenate([images, images[..., :2]], axis=-1)
    with seeded(0):
        encoder = encoder_of(name, 4, SIZE, channels=5)
    assert encoder.input_shape == (None, SIZE, SIZE, 5)
    found = encoder.predict(five, verbose=0)
    for channel in range(5):  # each is seen
        other = five.copy()
        other[..., channel] = 255 - other[..., channel]
        assert np.abs(encoder.predict(other, verbose=0) - found).max() > 1e-4 * np.abs(found).max()


def test_a_network_of_other_channels_is_refused_in_a_line(tmp_path):
    network().save(tmp_path / "own.keras")
    with pytest.raises(ConfigError, match=r"one input \(n, height, width, 5\)\. .*None, 32, 32, 3"):
        encoder_of(f"file:{tmp_path / 'own.keras'}", image_size=SIZE, channels=5)
