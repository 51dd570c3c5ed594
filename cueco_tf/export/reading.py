"""An export read back: its manifest, its checksums, its encoder in ONNX Runtime. No TensorFlow."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cueco_tf.export.devices import DeviceError, device_of, providers_for

FORMAT_VERSION = 1
MANIFEST, ONNX, KERAS, SAVED_MODEL = "manifest.json", "encoder.onnx", "encoder.keras", "saved_model"
OUTPUTS = ("embedding", "cluster", "cluster_similarity")  # as `onnx_graph` and `writing` name them
_BATCH_PIXELS = 32 * 64 * 64
_BATCH_OF_GPU = 128


class ExportError(ValueError):
    """A folder that is no usable export; the message says why and what to do."""


class ParityError(RuntimeError):
    """The files of an export do not compute the same."""


class Outputs(NamedTuple):
    """What the encoder gives for n images: `embeddings` float32 `(n, dim)`, `clusters` int64
    `(n,)`, `similarities` float32 `(n,)`."""

    embeddings: np.ndarray
    clusters: np.ndarray
    similarities: np.ndarray


@dataclasses.dataclass(frozen=True)
class Export:
    """An export on disk: its folder and its manifest."""

    folder: Path
    manifest: dict

    @property
    def image_size(self):
        """Height and width in pixels of the images that the encoder takes."""
        return self.manifest["input"]["image_size"]

    @property
    def crop(self):
        """The share of an image file's shorter side that its central crop covers."""
        return self.manifest["input"]["crop"]

    @property
    def reading(self):
        """How the run read image files: the arguments of `data.reading.Reading`."""
        return self.manifest["input"].get("reading", {})  # exports of earlier versions have none

    @property
    def embedding_dim(self):
        """The length of an embedding."""
        return self.manifest["embedding_dim"]

    @property
    def num_clusters(self):
        """How many clusters it tells apart; they are numbered from 0."""
        return self.manifest["clusters"]

    @property
    def sha256(self):
        """The checksum of the ONNX file, as the manifest has it."""
        return self.manifest["files"][ONNX]["sha256"]

    def encoder(self, device="cpu"):
        """The ONNX file, opened.

        Args:
            device: one of `devices.DEVICES`, what the network runs on. Defaults to `"cpu"`.

        Raises:
            ExportError: when the file is missing, is not the one the manifest describes, or is
                too new for the ONNX Runtime that is installed.
            DeviceError: for `"cuda"` where no GPU can be used.
        """
        path = self.folder / ONNX
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ExportError(f"{path} cannot be read: {error.strerror}.") from error
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise ExportError(
                f"{path} is not the file that its manifest describes: its sha256 should be "
                f"{self.sha256[:12]}..., received {found[:12]}... Copy or export it again."
            )
        try:
            encoder = Encoder(content, device)
        except DeviceError:
            raise
        except Exception as error:  # ONNX Runtime has kinds of its own, one for each reason
            raise ExportError(
                f"ONNX Runtime cannot open {path}: {error}".splitlines()[0]
            ) from error
        sizes = encoder.image_size, encoder.embedding_dim
        if sizes != (self.image_size, self.embedding_dim):
            raise ExportError(
                f"{path} takes images of {sizes[0]} pixels and gives {sizes[1]} numbers, by its "
                f"manifest of {self.image_size} and {self.embedding_dim}. Export it again."
            )
        return encoder


def read_export(folder):
    """Reads the manifest of an export.

    Args:
        folder: path that `python -m pipelines.export` has written.

    Returns:
        `Export`.

    Raises:
        ExportError: for anything else.
    """
    path = Path(folder, MANIFEST)
    if not path.is_file():
        raise ExportError(
            f"{folder} is not an export: it holds no {MANIFEST}. Make one of a trained run: "
            f"python -m pipelines.export RUN --output {folder}"
        )
    try:
        manifest = json.loads(path.read_text())
        version = manifest["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{path} is not the manifest of an export ({error!r}).") from error
    if version != FORMAT_VERSION:
        raise ExportError(
            f"{path} is of format {version}, this version of cueco_tf reads {FORMAT_VERSION}."
        )
    export = Export(Path(folder), manifest)
    try:
        for name in ("image_size", "crop", "embedding_dim", "num_clusters", "sha256"):
            getattr(export, name)
    except (KeyError, TypeError) as error:
        raise ExportError(f"{path} is not the manifest of an export ({error!r}).") from error
    return export


class Encoder:
    """An ONNX encoder. On the CPU one call runs on one thread; several threads may call at the same
    time.

    That is quicker than one call on all cores: nothing has to wait for the slowest core after
    every layer. A GPU takes one call after the other, while other threads read images.

    Args:
        model: path or bytes of an ONNX file.
        device: one of `devices.DEVICES`. Defaults to `"cpu"`.

    `device` is then `"cpu"` or `"cuda"`, what it runs on, and `busy` the seconds of all calls, of
    several threads on the CPU added up.

    Raises:
        DeviceError: for `"cuda"` where no GPU can be used.
    """

    def __init__(self, model, device="cpu"):
        import onnxruntime  # a fifth of a second, which `--help` can do without

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        model = model if isinstance(model, bytes) else str(model)
        providers = providers_for(device)
        self._session = onnxruntime.InferenceSession(model, options, providers=providers)
        self.device = device_of(self._session, device)
        self._turn = threading.Lock() if self.device == "cuda" else contextlib.nullcontext()
        self.busy, self._counting = 0.0, threading.Lock()
        self.image_size = self._session.get_inputs()[0].shape[1]
        outputs = {each.name: each.shape for each in self._session.get_outputs()}
        self.embedding_dim = outputs[OUTPUTS[0]][-1]

    def __call__(self, images):
        """`Outputs` for images `(n, image_size, image_size, channels)`, of the manifest's type."""
        with self._turn:
            start = time.monotonic()
            outputs = self._session.run(list(OUTPUTS), {"images": images})
            seconds = time.monotonic() - start
        with self._counting:
            self.busy += seconds
        return Outputs(*outputs)

    @property
    def threads(self):
        """How many threads keep all cores busy: some more where others wait for a GPU."""
        return cores() + (2 if self.device == "cuda" else 0)

    @property
    def batch_size(self):
        """Images a call: as many as the caches like, 32 up to 64 pixels and 4 at least; of a GPU
        128."""
        if self.device == "cuda":
            return _BATCH_OF_GPU
        return max(4, min(32, _BATCH_PIXELS // self.image_size**2))

    def encode(self, images):
        """`Outputs` for an array of any length, on all cores."""
        size = self.batch_size
        blocks = (images[i : i + size] for i in range(0, len(images), size))
        parts = zip(*map_in_order(self, blocks, cores()), strict=True)
        return Outputs(*(np.concatenate(part) for part in parts))


def cores():
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def map_in_order(function, items, threads):
    """Yields `function(item)` for each item, in order, worked out on several threads.

    Unlike an executor's `map` it takes items up only as results are taken, so that memory holds a
    few of them however many there are.
    """
    items = iter(items)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        started = collections.deque(
            pool.submit(function, item) for item in itertools.islice(items, 3 * threads)
        )
        try:
            while started:
                result = started.popleft().result()
                started.extend(pool.submit(function, item) for item in itertools.islice(items, 1))
                yield result
        finally:
            for future in started:
                future.cancel()
