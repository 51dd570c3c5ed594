"""Two views of small images: whole batches as matrix products, against per-image tf.image and
keras-cv's layers.

All sides draw the same recipe (resized crop, flip, jitter, gray) in a `tf.data` pipeline with the
same parallelism; the random numbers and the order within the jitter are each library's own.
"""

from cueco_tf.process import import_tensorflow
from pipelines.benchmarking import bare_step
from pipelines.benchmarking.measuring import Findings, alternate, pipeline_rate

ROUNDS = 5


def add_options(parser):
    """Its part of the command line."""
    parser.add_argument("--image-size", type=int, default=32, help="(default: 32)")
    parser.add_argument("--batch-size", type=int, default=256, help="(default: 256)")
    parser.add_argument("--steps", type=int, default=20, help="batches a measurement (default: 20)")


def measure(options):
    """Runs the comparison."""
    import numpy as np

    tf = import_tensorflow()
    from cueco_tf import TwoViews
    from cueco_tf.data.splits import ArraySplit

    size, batch_size, steps = options.image_size, options.batch_size, options.steps
    images = bare_step.random_views(8 * batch_size, size)[0].astype(np.uint8)
    recipe = TwoViews()
    with tf.device("CPU"):
        source = tf.data.Dataset.from_tensor_slices(images).repeat()
    one_by_one = _per_image(recipe, size)
    layers = _keras_cv(recipe, size)
    autotune = tf.data.AUTOTUNE
    pipelines = {
        "tf.image, image by image": source.map(one_by_one, autotune).batch(batch_size),
        "keras-cv layers": source.batch(batch_size).map(layers, autotune),
        "cueco_tf": ArraySplit(images, None).training_batches(batch_size, recipe, 0, 0),
    }

    def rate(batches):
        return lambda: pipeline_rate(batches.prefetch(autotune), steps, 2 * batch_size)

    sides = {name: rate(batches) for name, batches in pipelines.items()}
    for side in sides.values():
        side()  # imports and caches
    settings = {"image_size": size, "batch_size": batch_size, "steps": steps}
    return Findings(settings, (alternate("two views", "views/s", sides, options.rounds),))


def _per_image(recipe, size):
    """The recipe in `tf.image`, for one image."""
    import tensorflow as tf

    brightness, contrast, saturation, hue = recipe.jitter
    whole = tf.zeros((1, 0, 4))

    def view(image):
        begin, extent, _ = tf.image.sample_distorted_bounding_box(
            tf.shape(image),
            whole,
            area_range=recipe.crop_scale,
            aspect_ratio_range=recipe.crop_ratio,
            use_image_if_no_bounding_boxes=True,
        )
        crop = tf.ensure_shape(tf.slice(image, begin, extent), (None, None, 3))
        crop = tf.image.resize(crop, (size, size))
        crop = tf.image.random_flip_left_right(crop) / 255.0

        def jitter():
            changed = tf.image.random_brightness(crop, brightness)
            changed = tf.image.random_contrast(changed, 1 - contrast, 1 + contrast)
            changed = tf.image.random_saturation(changed, 1 - saturation, 1 + saturation)
            return tf.image.random_hue(changed, hue)

        crop = tf.cond(tf.random.uniform(()) < recipe.jitter_probability, jitter, lambda: crop)
        gray = tf.random.uniform(()) < recipe.gray
        crop = tf.cond(
            gray, lambda: tf.tile(tf.image.rgb_to_grayscale(crop), (1, 1, 3)), lambda: crop
        )
        return 255.0 * tf.clip_by_value(crop, 0.0, 1.0)

    return lambda image: (view(image), view(image))


def _keras_cv(recipe, size):
    """The recipe in keras-cv's layers, for a batch."""
    import keras_cv

    brightness, contrast, saturation, hue = recipe.jitter
    unchanged = 0.5  # in the middle of keras-cv's scale of saturation
    saturation = (unchanged * (1 - saturation), unchanged * (1 + saturation))
    jitter = keras_cv.layers.RandomColorJitter((0, 255), brightness, contrast, saturation, hue)
    layers = [
        keras_cv.layers.RandomCropAndResize((size, size), recipe.crop_scale, recipe.crop_ratio),
        keras_cv.layers.RandomFlip("horizontal"),
        keras_cv.layers.RandomApply(jitter, rate=recipe.jitter_probability),
        keras_cv.layers.RandomApply(keras_cv.layers.Grayscale(3), rate=recipe.gray),
    ]

    def view(images):
        for layer in layers:
            images = layer(images, training=True)
        return images

    return lambda images: (view(images), view(images))
