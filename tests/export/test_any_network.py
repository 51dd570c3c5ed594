"""Networks that are not ours, trained a step and written in every format."""

import keras
import numpy as np
import pytest

from cueco_tf import SimCLR
from cueco_tf.export import checks, onnx_graph, reading, writing
from cueco_tf.methods.building import build_model
from cueco_tf.settings.run import RunConfig

pytestmark = pytest.mark.slow
SIZE = 32


@pytest.fixture(scope="module")
def images(cifar):
    return cifar.train.images[:24]


def write(folder, network):
    writing.save_keras(folder / reading.KERAS, network)
    writing.save_saved_model(folder / reading.SAVED_MODEL, network)
    model = writing.to_onnx(network, "an encoder")
    (folder / reading.ONNX).write_bytes(onnx_graph.serialize(model))


def serving(model):
    return writing.serving_network(model, np.eye(8, dtype="float32")[:4])


@pytest.mark.parametrize("name", ["MobileNetV3Small", "EfficientNetV2B0", "ConvNeXtTiny"])
def test_a_network_of_keras_is_trained_and_its_files_agree(name, images, tmp_path):
    settings = dict(hidden_dim=16, projection_dim=8)
    how = dict(batch_size=12, epochs=1, learning_rate=0.4)
    config = RunConfig("cifar100", "simclr", settings, f"keras:{name}", **how)
    model = build_model(config.resolve(24, SIZE, 100))
    before = model.encoder.get_weights()
    logs = model.train_on_batch(images[:12], return_dict=True)
    assert np.isfinite(logs["loss"])
    moved = [
        np.any(own != old) for own, old in zip(model.encoder.get_weights(), before, strict=True)
    ]
    assert np.mean(moved) > 0.9  # a bias before a normalisation has no gradient
    network = serving(model)
    write(tmp_path, network)
    figures = checks.parity(tmp_path, network, images)
    assert figures[reading.ONNX]["embedding_difference"] < checks.TOLERANCE


def test_grouped_convolutions_and_exact_gelu_can_be_written(images, tmp_path):
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(8, 3, 2)(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.Conv2D(16, 3, groups=4, activation=keras.activations.gelu)(x)
    encoder = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    network = serving(SimCLR(encoder, hidden_dim=16, projection_dim=8))
    write(tmp_path, network)
    checks.parity(tmp_path, network, images)


def test_what_onnx_does_not_know_is_refused_in_a_line():
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    spectrum = keras.ops.rfft(keras.layers.Dense(8)(x))[0]
    encoder = keras.Model(inputs, keras.layers.Dense(6)(spectrum))
    network = serving(SimCLR(encoder, hidden_dim=16, projection_dim=8))
    with pytest.raises(reading.ExportError, match="cannot be written as ONNX") as refusal:
        writing.to_onnx(network, "an encoder")
    assert len(str(refusal.value).splitlines()) == 1
