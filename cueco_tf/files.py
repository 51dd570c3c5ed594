"""Images that stay files: decoded and cropped as they stream through `tf.data`.

Memory holds a few batches, whatever the folder's size.
"""

import concurrent.futures
import dataclasses
import hashlib
import os
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from cueco_tf import image_files, views


@dataclasses.dataclass(frozen=True)
class FileSplit:
    """Images on disk.

    `paths` is an `(n,)` array of strings, `aspects` float32 `(n,)` (height over width), `labels`
    int32 `(n,)` or None, `image_size` the height and width to train at.
    """

    paths: np.ndarray
    aspects: np.ndarray
    labels: np.ndarray | None
    image_size: int

    @classmethod
    def of(cls, found, labels, image_size):
        """Makes a split of a list of `ImageFile`."""
        paths = np.array([str(image.path) for image in found])
        aspects = np.array([image.height / image.width for image in found], np.float32)
        return cls(paths, aspects, labels, image_size)

    def __len__(self):
        return len(self.paths)

    def fingerprint(self):
        """A hash of the files' names below their common folder, sizes in bytes, and labels."""
        root = os.path.commonpath(self.paths.tolist())
        labels = [None] * len(self) if self.labels is None else self.labels.tolist()
        digest = hashlib.sha256()
        for path, label in zip(self.paths, labels, strict=True):
            known = (os.path.relpath(path, root), Path(path).stat().st_size, label)
            digest.update(f"{known}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def take(self, chosen):
        """The split of the chosen indices."""
        labels = None if self.labels is None else self.labels[chosen]
        return FileSplit(self.paths[chosen], self.aspects[chosen], labels, self.image_size)

    def sample(self, count, seed=0):
        """A random part of the split, the same for the same seed."""
        if count >= len(self):
            return self
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:count]))

    def training_batches(self, batch_size, augment, seed, first_step, part=views.WHOLE):
        """Endless `((view1, view2), labels)` batches from `first_step` on.

        An image that turns out to be unreadable is left out of its batch, with a warning. Of each
        batch only `part` is decoded (see `views`).
        """
        decoder = _Decoder(self.paths, self.image_size)
        labels = self.labels
        if labels is None:
            labels = np.full(len(self), views.UNLABELLED, np.int32)
        with tf.device("CPU"):
            aspects, labels = tf.constant(self.aspects), tf.constant(labels)

        def batch(step):
            index = views.shuffled_indices(step, len(self), batch_size, seed)
            aspect, count, key = tf.gather(aspects, index), tf.shape(index)[0], (seed, step)
            boxes = [augment.crop_boxes(count, key, view, aspect) for view in (0, 1)]
            places, own = views.places_of(part, count)
            boxes = tf.gather(tf.stack(boxes, axis=1), places)
            crops, kept = decoder(tf.gather(index, places), boxes)
            places, own = tf.boolean_mask(places, kept), tf.math.count_nonzero(kept[:own])
            finished = tuple(
                augment.finish(crops[:, view], key, view, places, count) for view in (0, 1)
            )
            return finished, tf.gather(labels, tf.gather(index, places[:own]))

        # Two batches at a time: their images already decode in parallel.
        return views.steps_from(first_step).map(batch, num_parallel_calls=2).prefetch(2)

    def plain_batches(self, batch_size=256):
        """The central crop of each image, in order: uint8 batches.

        Raises:
            OSError: for an image that cannot be read, so that results never lose their order.
        """
        with tf.device("CPU"):
            boxes = tf.constant(image_files.central_boxes(self.aspects)[:, None])
        decoder = _Decoder(self.paths, self.image_size, strict=True)

        def batch(index):
            return decoder(index, tf.gather(boxes, index))[0][:, 0]

        indices = tf.data.Dataset.range(len(self)).batch(batch_size)
        return indices.map(batch, num_parallel_calls=2).prefetch(2)


class _Decoder:
    """Decodes the images of a batch in parallel, from within a `tf.data` pipeline."""

    def __init__(self, paths, size, strict=False):
        self.paths = paths
        self.size = size
        self.strict = strict
        self.failed = set()
        self.pool = concurrent.futures.ThreadPoolExecutor(image_files.WORKERS)

    def __call__(self, index, boxes):
        """`index` `(batch,)` and `boxes` `(batch, views, 4)` give crops, uint8
        `(kept, views, size, size, 3)`, and a mask of those kept, `(batch,)`."""
        crops, kept = tf.numpy_function(self._decode, (index, boxes), (tf.uint8, tf.bool))
        crops.set_shape((None, boxes.shape[1], self.size, self.size, 3))
        kept.set_shape((None,))
        return crops, kept

    def _decode(self, index, boxes):
        results = list(self.pool.map(self._try, index, boxes))
        kept = np.array([result is not None for result in results])
        if not kept.any():
            raise OSError(
                f"Not one image of a batch can be read any more, such as {self.paths[index[0]]}"
            )
        return np.stack([result for result in results if result is not None]), kept

    def _try(self, i, boxes):
        path = str(self.paths[i])
        try:
            return image_files.crops(path, boxes, self.size)
        except Exception as error:  # a damaged file can make a decoder raise anything
            if self.strict:
                raise OSError(f"Cannot read {path}: {image_files.reason(error)}") from error
            if path not in self.failed:
                self.failed.add(path)
                warnings.warn(f"Skipped {path}: {image_files.reason(error)}", stacklevel=2)
            return None


def in_one_line(error):
    """What a `tf.errors.OpError` says, without its trace: our own words, where a file could not be
    read while it streamed."""
    line = error.message.splitlines()[0]
    return line.partition("OSError: ")[2] or re.sub(r"^\{\{.*?\}\} ", "", line)


def extract(builder, split, names, classes, image_size):
    """Writes the encoded images of a TFDS split out as files, once, and returns them as a split.

    TFDS keeps images in record files that can only be read in order. As files they can be shuffled
    perfectly, resumed at any step and cropped while they are decoded, at the price of disk space.

    Args:
        builder: a prepared TFDS builder.
        split: name of the split.
        names: its class names, or None without labels.
        classes: the names of the classes to keep, which then get these numbers; None for all.
        image_size: integer, the height and width to train at.

    Returns:
        `FileSplit`.
    """
    import tensorflow_datasets as tfds

    number = {name: i for i, name in enumerate(classes or names or ())}
    wanted = "" if classes is None else f"-{len(classes)}-classes"
    safe = "".join(c if c.isalnum() else "_" for c in split)
    target = Path(builder.data_dir, f"cueco_tf_files{wanted}", safe)
    if not target.exists():
        partial = target.with_name(f"{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        dataset = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
        total = builder.info.splits[split].num_examples
        title = f"Unpacking {builder.name} {split}"
        for i, example in enumerate(tqdm(tfds.as_numpy(dataset), title, total, unit="image")):
            if names and example["label"] < 0:
                raise ValueError(f"The split {split} of {builder.name} has no labels.")
            name = names[example["label"]] if names else None
            if name is None or name in number:
                kind = "png" if example["image"].startswith(b"\x89PNG") else "jpg"
                label = "" if name is None else f"-{number[name]}"
                (partial / f"{i:08d}{label}.{kind}").write_bytes(example["image"])
        partial.rename(target)
    found, _ = image_files.scan(target)
    labels = None
    if names:
        labels = np.array([int(image.path.stem.split("-")[1]) for image in found], np.int32)
    return FileSplit.of(found, labels, image_size)
