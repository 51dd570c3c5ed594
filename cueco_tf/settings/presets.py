"""What suits each kind of data set, whatever the method; a method adds to it in its `presets`."""

# Each preset with its command, what it costs and what it gave: see the README's table of results.
PRESETS = {
    # python -m cueco_tf.train --dataset digits
    # Handwritten digits must not be mirrored, and their crops must leave them readable.
    "digits": dict(
        encoder="resnet10",
        width=16,
        image_size=16,
        epochs=100,
        batch_size=128,
        flip=0.0,
        gray=0.0,
        jitter=(0.4, 0.4, 0.0, 0.0),
        crop_scale=(0.5, 1.0),
        learning_rate=0.12,
    ),
    # python -m cueco_tf.train --dataset cifar10
    "cifar10": dict(),
    # python -m cueco_tf.train --dataset cifar100
    "cifar100": dict(),
    # python -m cueco_tf.train --dataset imagenet100
    # The default rate was measured on small images alone; for large ones it stays cautious.
    "imagenet100": dict(image_size=224, learning_rate=0.12),
    # python -m cueco_tf.train --dataset folder:PATH
    "folder": dict(),
    # python -m cueco_tf.train --dataset list:FILE.csv
    "list": dict(),
    # python -m cueco_tf.train --dataset parquet:'DIR/*.parquet'
    "parquet": dict(),
    # python -m cueco_tf.train --dataset tar:'DIR/*.tar'
    "tar": dict(),
    # python -m cueco_tf.train --dataset array:FILE.npz
    "array": dict(),
    # python -m cueco_tf.train --dataset tfds:NAME
    "tfds": dict(),
}
