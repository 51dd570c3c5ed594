"""What suits each data set."""

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
        queue_size=1024,
        flip=0.0,
        gray=0.0,
        jitter=(0.4, 0.4, 0.0, 0.0),
        # Three seeds, NMI and ACC of the training images: crops from 0.2 on 84.3 and 83.6; from 0.5
        # on, with slow clusters, 87.6 and 89.7; these 90.0 and 93.4. See docs/results/defaults.md.
        crop_scale=(0.5, 1.0),
        learning_rate=0.12,
        clusters=10,
        loss_weights=(1.0, 0.3, 0.3),
        centroid_temperature=0.2,
        ramp_epochs=0,
    ),
    # python -m cueco_tf.train --dataset cifar10
    "cifar10": dict(),
    # python -m cueco_tf.train --dataset cifar100
    "cifar100": dict(),
    # python -m cueco_tf.train --dataset imagenet100
    # The default rate was measured on small images alone; for large ones it stays cautious.
    "imagenet100": dict(image_size=224, queue_size=16384, learning_rate=0.12),
    # python -m cueco_tf.train --dataset folder:PATH
    "folder": dict(),
    # python -m cueco_tf.train --dataset tfds:NAME
    "tfds": dict(),
}
