import subprocess
import sys

import keras
import numpy as np
import pytest

from cueco_tf.parts.batch_norm import FusedBatchNormalization, to_stock_layers
from cueco_tf.parts.heads import build_projection_head
from cueco_tf.parts.resnet import build_encoder


@pytest.mark.parametrize(
    "name, features, parameters",
    [
        # Without the classifier torchvision's ResNet-18, 34 and 50 have 11,176,512, 21,284,672 and
        # 23,508,032 parameters; their 7x7 stem has 7,680 more than the 3x3 one.
        ("resnet18", 512, 11_176_512 - 7_680),
        ("resnet34", 512, 21_284_672 - 7_680),
        ("resnet50", 2048, 23_508_032 - 7_680),
    ],
)
def test_networks_are_the_published_ones(name, features, parameters):
    encoder = build_encoder(name)
    assert encoder.output_shape == (None, features)
    assert sum(int(np.prod(v.shape)) for v in encoder.trainable_variables) == parameters


def test_small_images_keep_their_size_in_the_stem_and_large_ones_do_not():
    small, large = build_encoder("resnet10", 8, 64), build_encoder("resnet10", 8, 96)
    first = [
        next(x for x in e.layers if isinstance(x, keras.layers.Conv2D)) for e in (small, large)
    ]
    assert [conv.kernel_size for conv in first] == [(3, 3), (7, 7)]
    before_pooling = [e.layers[-2].output.shape[1] for e in (small, large)]
    assert before_pooling == [8, 3]
    assert build_encoder("resnet10", 8, 96, stem="small").layers[-2].output.shape[1] == 12


@pytest.mark.parametrize(
    "arguments",
    [{"name": "vgg"}, {"width": 0}, {"image_size": 4}, {"stem": "large"}],
)
def test_wrong_values_are_named(arguments):
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}` should be .* Received"):
        build_encoder(**arguments)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 4, 8])
def test_narrow_networks_train_on_odd_batches(width):
    """TensorFlow's gradient of a strided 1x1 convolution writes past its buffer where the input has
    fewer channels than a vector register has lanes: the process is killed sooner or later."""
    script = f"""
import cueco_tf, tensorflow as tf
encoder = cueco_tf.build_encoder("resnet10", {width}, 16)
@tf.function
def gradients(images):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(encoder(images, training=True) ** 2)
    return tape.gradient(loss, encoder.trainable_variables)
for _ in range(40):
    for batch in (16, 1, 7, 13, 29):
        assert len(gradients(tf.fill((batch, 16, 16, 3), 255.0 * batch / 32))) > 20
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]


def test_integer_and_float_pixels_give_the_same_features(cifar):
    encoder, images = build_encoder("resnet10", 8), cifar.test.images[:8]
    np.testing.assert_array_equal(
        encoder.predict(images, verbose=0), encoder.predict(images.astype("float32"), verbose=0)
    )


def test_fused_batch_normalization_equals_the_stock_layer_on_real_images(cifar):
    # Few enough values (64 a channel) for the unbiased variance to stand out.
    x = cifar.train.images[:4, :4, :4].astype("float32") / 255
    layers = [
        kind(momentum=0.9, epsilon=1e-5)
        for kind in (FusedBatchNormalization, keras.layers.BatchNormalization)
    ]
    outputs = [layer(x, training=True) for layer in layers]
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-4)
    fused, stock = layers
    np.testing.assert_allclose(fused.moving_mean, stock.moving_mean, rtol=1e-5)
    # The fused kernel's batch variance is the unbiased one.
    unbiased = 0.9 + 0.1 * x.reshape(-1, 3).var(axis=0, ddof=1)
    np.testing.assert_allclose(fused.moving_variance, unbiased, rtol=1e-5)
    stock.set_weights(fused.get_weights())
    np.testing.assert_allclose(fused(x, training=False), stock(x, training=False), atol=1e-6)


def test_plain_keras_opens_a_stock_copy_in_another_process(tmp_path, cifar):
    encoder = build_encoder("resnet10", 8)
    images = cifar.train.images[:16]
    encoder(images, training=True)  # moves the statistics off their start
    expected = encoder.predict(images, verbose=0)
    to_stock_layers(encoder).save(tmp_path / "encoder.keras")
    np.save(tmp_path / "images.npy", images)
    script = """
import sys, keras, numpy as np
network = keras.models.load_model(sys.argv[1] + "/encoder.keras", safe_mode=True)
np.save(sys.argv[1] + "/features.npy", network.predict(np.load(sys.argv[1] + "/images.npy")))
assert "cueco_tf" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script, tmp_path], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "features.npy"), expected, rtol=1e-4, atol=1e-5)


def test_a_network_of_mixed_precision_is_copied_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        encoder = build_encoder("resnet10", 8)
    finally:
        keras.config.set_dtype_policy("float32")
    copy = to_stock_layers(encoder)
    assert {layer.compute_dtype for layer in copy.layers} == {"float32"}
    for own, other in zip(copy.get_weights(), encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)


def test_head_is_two_dense_layers_and_depends_on_the_seed():
    head = build_projection_head(32, 64, 16, seed=3)
    assert [w.shape for w in head.weights] == [(32, 64), (64,), (64, 16), (16,)]
    again, other = (
        build_projection_head(32, 64, 16, seed=3),
        build_projection_head(32, 64, 16, seed=4),
    )
    np.testing.assert_array_equal(head.get_weights()[0], again.get_weights()[0])
    assert not np.array_equal(head.get_weights()[0], other.get_weights()[0])
