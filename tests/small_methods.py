"""Every method small enough for a test of its step."""

import pkgutil

import keras

from cueco_tf.parts.optimizers import LARS
from cueco_tf.settings.methods import METHODS

# Small numbers for the arguments of each constructor.
SMALL = {
    "cueco": dict(num_clusters=6, queue_size=40, hidden_dim=16, projection_dim=8, warmup_steps=2),
    "moco_v2": dict(queue_size=40, hidden_dim=16, projection_dim=8),
    "simclr": dict(hidden_dim=16, projection_dim=8),
    "byol": dict(hidden_dim=16, projection_dim=8, predictor_dim=16),
    "vicreg": dict(hidden_dim=16, projection_dim=8),
    "swav": dict(hidden_dim=16, projection_dim=8, num_prototypes=6, queue_size=40, freeze_steps=2),
    "moco_v3": dict(hidden_dim=16, projection_dim=8, predictor_dim=16),
}
# At higher ones rounding grows to other weights within nine steps: VICReg's losses weigh 25, and
# MoCo-v3 divides z by its deviation over ten images. BYOL is trained by LARS.
RATES = {"vicreg": 0.002, "moco_v3": 0.005, "byol": 0.5}


def small_encoder():
    """No BatchNormalization: a share of the batch has other statistics than the whole."""
    x = inputs = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    for filters in (8, 16):
        x = keras.layers.Conv2D(filters, 3, 2, padding="same", activation="relu")(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


def make(method, compiled=False, **options):
    keras.utils.set_random_seed(0)
    kind = pkgutil.resolve_name(METHODS[method].model)
    model = kind(small_encoder(), **{**SMALL[method], "num_classes": 10, "seed": 1, **options})
    optimizer = LARS if method == "byol" else keras.optimizers.SGD
    model.compile(optimizer(RATES.get(method, 0.05), momentum=0.9), jit_compile=compiled)
    return model


def fit(model, digits, epochs=2, images=90, **options):
    """Two batches of 40 and one of 10 an epoch."""
    x, y = digits.train.images[:images], digits.train.labels[:images]
    return model.fit(x, y, batch_size=40, epochs=epochs, verbose=0, **options).history
