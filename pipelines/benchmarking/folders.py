"""Folders of JPEG files: images decoded and cropped as training does it, against tf.image.

A folder of noisy JPEGs is made for the purpose. Both sides give batches of two finished views in
random order; the crop is part of the resizing here, and a file is decoded once for both views.
"""

import tempfile
from pathlib import Path

from cueco_tf.export.reading import cores
from cueco_tf.process import import_tensorflow
from pipelines.benchmarking.measuring import Findings, alternate, pipeline_rate

ROUNDS = 5
_MACHINE_CORES = 96  # a usual cloud machine with eight GPUs


def add_options(parser):
    """Its part of the command line."""
    parser.add_argument("--files", type=int, default=512, help="(default: 512)")
    parser.add_argument(
        "--pixels", type=int, default=224, help="height and width of the files (default: 224)"
    )
    parser.add_argument("--image-size", type=int, default=224, help="of the views (default: 224)")
    parser.add_argument("--batch-size", type=int, default=64, help="(default: 64)")
    parser.add_argument("--steps", type=int, default=8, help="batches a measurement (default: 8)")


def measure(options):
    """Runs the comparison; the folder is removed afterwards."""
    import_tensorflow()
    from cueco_tf import data

    with tempfile.TemporaryDirectory() as folder:
        _write_files(Path(folder), options.files, options.pixels)
        split = data.load(f"folder:{folder}", image_size=options.image_size).train
        comparison = _compare(split, options)
    per_core = comparison.as_dict()["sides"]["cueco_tf"]["median"] / cores()
    whole = per_core * _MACHINE_CORES
    names = ("files", "pixels", "image_size", "batch_size", "steps")
    return Findings(
        {name: getattr(options, name) for name in names},
        (comparison,),
        {
            "images/s and core": per_core,
            f"images/s of {_MACHINE_CORES} cores (extrapolated, not measured)": whole,
            "images/s for each of its 8 GPUs (extrapolated, not measured)": whole / 8,
        },
    )


def _compare(split, options):
    import tensorflow as tf

    from cueco_tf import TwoViews

    size, batch_size = options.image_size, options.batch_size
    recipe = TwoViews.for_image_size(size)
    paths = tf.data.Dataset.from_tensor_slices(list(split.paths)).shuffle(len(split)).repeat()
    numbered = paths.batch(batch_size).enumerate()
    pipelines = {
        "tf.image": numbered.map(_plain(recipe, size), 2).prefetch(2),
        "cueco_tf": split.training_batches(batch_size, recipe, 0, 0),
    }

    def rate(batches):
        return lambda: pipeline_rate(batches, options.steps, batch_size)

    sides = {name: rate(batches) for name, batches in pipelines.items()}
    for side in sides.values():
        side()  # builds graphs and brings the files into memory
    return alternate("JPEG files", "images/s", sides, options.rounds)


def _write_files(folder, count, pixels):
    """JPEGs of smooth shapes and noise, about as many bytes a pixel as photographs."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(count):
        shapes = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        smooth = np.asarray(shapes.resize((pixels, pixels), Image.Resampling.BICUBIC), float)
        noisy = np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{i:05d}.jpg", quality=90)


def _plain(recipe, size):
    """Decodes whole files with TensorFlow, then crops: what a `tf.image` pipeline does."""
    import tensorflow as tf

    def decode(path, boxes):
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.crop_and_resize(image[None], boxes, (0, 0), (size, size))

    def batch(number, paths):
        draws = recipe.draws(tf.shape(paths)[0], (tf.constant(0, tf.int64), number))
        crops = tf.map_fn(
            lambda pair: decode(*pair),
            (paths, recipe.crop_boxes(draws)),
            fn_output_signature=tf.TensorSpec((2, size, size, 3), tf.float32),
            parallel_iterations=16,
        )
        return recipe.finish(crops, draws)

    return batch
