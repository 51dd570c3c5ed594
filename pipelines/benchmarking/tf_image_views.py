"""Views of JPEG files by a pipeline of `tf.image`: the other side of `benchmark folders`."""

import tensorflow as tf


def batches(paths, recipe, size, batch_size, finished, antialias):
    """Endless batches of two views, of whole files that are decoded, cropped and changed in colour.

    Args:
        paths: `(n,)` strings.
        recipe: `TwoViews` without blur and solarisation, whose draws are used.
        size: integer, of the views.
        batch_size: integer.
        finished: whether to do more than to crop.
        antialias: whether a crop with more pixels than its view gives their means, as all other
            sides do; by default `tf.image` picks some of them.

    Returns:
        `tf.data.Dataset` of `(batch_size, 2, size, size, 3)`, float32 or, not finished, uint8.
    """

    def one(number, path):
        draws = recipe.draws(1, (tf.constant(0, tf.int64), number))
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
        boxes, draws = recipe.crop_boxes(draws, height / width)[0], draws[0]
        crops = (_means if antialias else _picks)(image, boxes, size)
        if not finished:
            return tf.cast(crops, tf.uint8)
        return tf.stack([_finish(crops[i], draws[i], recipe) for i in (0, 1)])

    shuffled = tf.data.Dataset.from_tensor_slices(list(paths)).shuffle(len(paths)).repeat()
    images = shuffled.enumerate().map(one, num_parallel_calls=tf.data.AUTOTUNE)
    return images.batch(batch_size).prefetch(2)


def _picks(image, boxes, size):
    return tf.image.crop_and_resize(image[None], boxes, (0, 0), (size, size))


def _means(image, boxes, size):
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    ends = tf.cast(tf.round(boxes * tf.stack([height, width, height, width])), tf.int32)
    crops = (image[ends[i, 0] : ends[i, 2], ends[i, 1] : ends[i, 3]] for i in (0, 1))
    return tf.stack([tf.image.resize(crop, (size, size), antialias=True) for crop in crops])


def _finish(view, draws, recipe):
    """Flip, jitter and gray; `draws` `(14,)`, as `TwoViews` reads them."""
    view = tf.cond(draws[4] < recipe.flip, lambda: tf.reverse(view, [1]), lambda: view)
    on = draws[9] < recipe.jitter_probability
    view = tf.cond(on, lambda: _jitter(view, draws[10:], recipe.jitter), lambda: view / 255.0)
    view = tf.cond(draws[5] < recipe.gray, lambda: _gray(view), lambda: view)
    return tf.clip_by_value(view, 0.0, 1.0) * 255.0


def _jitter(view, draws, strengths):
    brightness, contrast, saturation, hue = (
        strength * (2.0 * draws[i] - 1.0) for i, strength in enumerate(strengths)
    )
    view = tf.image.adjust_brightness(view / 255.0, brightness)
    view = tf.image.adjust_contrast(view, 1.0 + contrast)
    return tf.image.adjust_hue(tf.image.adjust_saturation(view, 1.0 + saturation), hue)


def _gray(view):
    return tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(view))
