"""Folders of JPEG files: what is read of them for training, against tf.image and PyTorch.

A folder of noisy JPEGs is made for the purpose, of ImageNet's usual size or of `--width` and
`--height`. Each side gives batches in random order, in two comparisons: what a host sends to a GPU
(uint8: others send two crops, ours one copy of the whole image, out of which the step cuts both),
and finished views on the CPU (crop, flip, jitter, gray). "kept" is from the second epoch on, with
the copies in memory. With `--torch` (extra `bench`), PyTorch's DataLoader with Pillow, a process a
core.
"""

import contextlib
import importlib.util
import tempfile
from pathlib import Path

from cueco_tf.export.reading import cores
from cueco_tf.process import import_tensorflow
from pipelines.benchmarking.measuring import Findings, alternate, pipeline_rate

ROUNDS = 5


def add_options(parser):
    """Its part of the command line."""
    parser.add_argument("--files", type=int, default=512, help="(default: 512)")
    parser.add_argument("--width", type=int, default=500, help="of the files (default: 500)")
    parser.add_argument("--height", type=int, default=375, help="of the files (default: 375)")
    parser.add_argument("--image-size", type=int, default=224, help="of the views (default: 224)")
    parser.add_argument("--batch-size", type=int, default=64, help="(default: 64)")
    parser.add_argument("--steps", type=int, default=8, help="batches a measurement (default: 8)")
    parser.add_argument("--torch", action="store_true", help="PyTorch's side as well")


def measure(options):
    """Runs the comparisons; the folder is removed afterwards."""
    if options.torch and importlib.util.find_spec("torch") is None:
        raise ImportError('PyTorch is missing: pip install ".[bench]"')
    import_tensorflow()
    from cueco_tf import data
    from cueco_tf.data.copies import keep_copies

    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as held:
        _write_files(Path(folder), options.files, (options.height, options.width))
        images = data.load(f"folder:{folder}", image_size=options.image_size)
        kept = held.enter_context(keep_copies(images, "memory"))
        for _ in kept.train.training_batches(64, _recipe(), 0, 0).take(-(-options.files // 64)):
            pass  # which makes the copies
        sent, finished = (
            _compare(images.train, kept.train, late, options) for late in (True, False)
        )
    names = ("files", "width", "height", "image_size", "batch_size", "steps")
    per_core = {
        f"images/s and core, {name}, {what}": side["median"] / cores()
        for what, comparison in (("sent", sent), ("finished", finished))
        for name, side in comparison.as_dict()["sides"].items()
    }
    return Findings({name: getattr(options, name) for name in names}, (sent, finished), per_core)


def _recipe():
    from cueco_tf import TwoViews

    return TwoViews()  # without blur, which tf.image has not


def _compare(split, kept, late, options):
    from cueco_tf.data.late import Late
    from pipelines.benchmarking import tf_image_views

    augment, batch_size = Late(_recipe()) if late else _recipe(), options.batch_size
    given = _recipe(), options.image_size, batch_size, not late
    rates = {
        name: _rate_of(batches, options)
        for name, batches in {
            "tf.image": tf_image_views.batches(split.paths, *given, antialias=False),
            "tf.image, antialias": tf_image_views.batches(split.paths, *given, antialias=True),
            "cueco_tf": split.training_batches(batch_size, augment, 0, 0),
            "cueco_tf, kept": kept.training_batches(batch_size, augment, 0, 0),
        }.items()
    }
    with contextlib.ExitStack() as held:
        if options.torch:
            from pipelines.benchmarking import torch_folders

            loading = torch_folders.loading(list(split.paths), *given[1:], cores())
            loader = held.enter_context(loading)
            rates["PyTorch, Pillow"] = lambda: loader.rate(options.steps)
        for rate in rates.values():
            rate()  # builds graphs and brings the files into memory
        title = "sent to a GPU" if late else "finished views on the CPU"
        return alternate(title, "images/s", rates, options.rounds)


def _rate_of(batches, options):
    return lambda: pipeline_rate(batches, options.steps, options.batch_size)


def _write_files(folder, count, shape):
    """JPEGs of smooth shapes and noise, about as many bytes a pixel as photographs."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(count):
        shapes = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        smooth = np.asarray(shapes.resize(shape[::-1], Image.Resampling.BICUBIC), np.float32)
        noisy = smooth + rng.normal(0, 8, smooth.shape).astype(np.float32)
        image = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
        image.save(folder / f"{i:05d}.jpg", quality=90)
