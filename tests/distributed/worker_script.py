"""Trains a tiny model on a few digits and saves what it came to: run by `test_workers`."""

import sys

import cueco_tf  # noqa: F401 (before TensorFlow)

# isort: split
import keras
import numpy as np
import tensorflow as tf

from cueco_tf import CueCo, data
from cueco_tf.distributed.workers import join
from cueco_tf.parts.optimizers import SGD


def encoder():
    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    for filters in (8, 16):
        x = keras.layers.Conv2D(filters, 3, 2, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.9, synchronized=True)(x)
        x = keras.layers.ReLU()(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


def main(devices, several, path):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * devices
    )
    workers = join("mirrored" if devices > 1 else "none", several)
    digits = data.load("digits", image_size=8).train
    with workers.strategy.scope():
        keras.utils.set_random_seed(0)
        model = CueCo(
            encoder(),
            6,
            queue_size=40,
            hidden_dim=16,
            projection_dim=8,
            warmup_steps=2,
            num_classes=10,
        )
        model.compile(SGD(0.02, momentum=0.9), jit_compile=workers.count == 2)
    # 62 = 3 x 20 + 2: neither divides by the replicas, and the last batch may be smaller than they.
    options = dict(batch_size=20, epochs=2, verbose=0)
    history = model.fit(digits.images[:62], digits.labels[:62], **options).history
    logs = {f"log/{name}": values for name, values in history.items()}
    weights = {f"weight/{i:03d}": weight.numpy() for i, weight in enumerate(model.weights)}
    np.savez(f"{path}-{workers.index}.npz", **logs, **weights)

    assert workers.any(workers.index == workers.count - 1) and not workers.any(False)
    message = b"from the chief" if workers.is_chief else b""
    assert workers.share(message) == b"from the chief" and workers.share(b"") == b""
    workers.leave()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] == "several", sys.argv[3])
