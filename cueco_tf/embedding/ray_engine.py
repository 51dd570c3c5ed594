"""Shards embedded by the workers of a Ray cluster (Ray Data), as separate processes would.

Every worker reads the same files and writes into the same folder, so machines need a disk in
common. A worker that dies is started again, and its shard with it: a part is whole or absent.
"""

import contextlib
import importlib.util
import logging
import os
import socket
from pathlib import Path
from typing import NamedTuple

from cueco_tf.embedding.shards import Shard
from cueco_tf.embedding.work import Embedded, embed_shard
from cueco_tf.export.reading import read_export
from cueco_tf.progress import tqdm

_LEAST_SHARDS, _IMAGES = 16, 100_000  # of a shard
_PATIENCE = 1.5  # seconds for a cluster to answer


class RayError(ValueError):
    """Work that Ray cannot do; the message says why."""


class Workers(NamedTuple):
    """How many workers there are, the threads, one a core, of each, and whether it has a GPU."""

    count: int
    threads: int
    gpu: bool

    def __str__(self):
        text = f"{self.count:,} workers of {self.threads:,} threads"
        return f"{text} and a GPU" if self.gpu else text


def check_ray():
    """Raises RayError where nobody listens at `RAY_ADDRESS`, or Ray Data is not installed."""
    _check_address(os.environ.get("RAY_ADDRESS", ""))
    missing = [name for name in ("ray", "pandas", "pyarrow") if not importlib.util.find_spec(name)]
    if missing:
        raise RayError(
            f"--engine ray needs Ray Data ({', '.join(missing)} missing): pip install cueco-tf[ray]"
        )


def _check_address(address):
    # Ray itself tries for a minute and more.
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdecimal()):
        return  # none, or a name that Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise RayError(f"There is no Ray cluster at RAY_ADDRESS={address}: {error}") from error


def default_shards(images):
    """How many shards so many images are cut into: one for each 100,000, 16 at least."""
    return max(1, min(images, max(_LEAST_SHARDS, -(-images // _IMAGES))))


@contextlib.contextmanager
def cluster():
    """Connects to the cluster that this process is connected to, that `RAY_ADDRESS` or a running
    `ray start` of this machine names, or to one that is started here and ends with the block.

    Raises:
        RayError: where there is none at the address.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    with contextlib.ExitStack() as after:
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except ConnectionError as error:
            raise RayError(f"There is no Ray cluster: {str(error).splitlines()[0]}") from error
        after.callback(ray.shutdown)
        logger, context = logging.getLogger("ray.data"), ray.data.DataContext.get_current()
        after.callback(logger.setLevel, logger.level)
        after.callback(setattr, context, "enable_progress_bars", context.enable_progress_bars)
        logger.setLevel(logging.ERROR)
        context.enable_progress_bars = False
        yield


def workers_for(shards, threads=None, device="cpu"):
    """How many workers fit into the cluster, for so many shards.

    Args:
        shards: integer.
        threads: integer, the cores of a worker. Defaults to all those of the smallest machine or,
            of machines with GPUs, to its share of each.
        device: one of `devices.DEVICES`: where it is not `"cpu"` and machines have GPUs, each
            worker takes one.

    Returns:
        `Workers`.

    Raises:
        RayError: where no machine has so many cores.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    machines = [(int(each.get("CPU", 0)), int(each.get("GPU", 0))) for each in nodes]
    gpus = device != "cpu" and any(gpu for _, gpu in machines)
    # The cores of each, and how many workers may be on it.
    fitting = [(cpu, gpu if gpus else cpu) for cpu, gpu in machines if cpu and (gpu or not gpus)]
    threads = threads or min(
        (max(1, cpu // (gpu if gpus else 1)) for cpu, gpu in fitting), default=1
    )
    count = sum(min(cpu // threads, most) for cpu, most in fitting)
    if not count:
        raise RayError(
            f"No machine of the Ray cluster has {threads} cores: --threads should be at most "
            f"{max((cpu for cpu, _ in fitting), default=0)}."
        )
    return Workers(min(count, shards), threads, gpus)


def embed_shards(export, source, folder, shards, threads=None, device="cpu", **how):
    """Embeds all shards of a source into their parts, but for those that are there.

    Args:
        export: what `export.reading.read_export` returned.
        source: what `sources.open_source` returned.
        folder: path of the parts.
        shards: integer, how many.
        threads: as in `workers_for`.
        device: as in `workers_for`.
        **how: `overwrite`, `update` and `by_hash` of `work.embed_shard`.

    Yields:
        A `(shard, done)` as each is ready: a `Shard` and what `work.embed_shard` returned.

    Raises:
        RayError: where the cluster cannot do it, or for what `work.embed_shard` raises, of the
            first shard that fails.
    """
    import ray

    workers = workers_for(shards, threads, device)
    source = ray.put(source)
    # Not `range`, whose tasks would wait for the cores that the workers hold.
    numbers = [{"shard": i} for i in range(shards)]
    made = ray.data.from_items(numbers, override_num_blocks=shards).map_batches(
        _Worker,
        fn_constructor_args=[Path.cwd(), export.folder, [source], folder, shards, device],
        fn_constructor_kwargs={"threads": workers.threads, **how},
        batch_size=1,
        num_cpus=workers.threads,
        num_gpus=1 if workers.gpu else None,
        compute=ray.data.ActorPoolStrategy(size=workers.count),
    )
    try:
        with tqdm(total=shards, desc="Embedding", unit=" shards") as bar:
            for row in made.iter_rows():
                shard = Shard(row["shard"], shards)
                if row["error"]:
                    raise RayError(f"Shard {shard}: {row['error']}")
                bar.update()
                yield shard, Embedded(*row["done"]) if row["done"] else None
    except ray.exceptions.RayError as error:
        raise RayError(f"Ray could not do it: {str(error).strip().splitlines()[-1]}") from error


class _Worker:
    """What one process of the cluster holds: the encoder, and the source.

    They are opened by the first shard, so that what goes wrong is said of a shard, and is no worker
    that dies and is started again.
    """

    def __init__(self, home, export, source, folder, count, device, **how):
        self._home, self._export, self._device = home, export, device
        self._source, self._folder, self._count, self._how = source[0], folder, count, how
        self._opened = None

    def _open(self):
        import ray

        os.chdir(self._home)  # paths of images may be relative to it
        export = read_export(self._export)
        return export, export.encoder(self._device), ray.get(self._source), self._folder

    def __call__(self, batch):
        (i,) = batch["shard"].tolist()
        done, reason = None, ""
        try:
            self._opened = self._opened or self._open()
            done = embed_shard(*self._opened, Shard(i, self._count), **self._how)
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error) or repr(error)
        return {"shard": [i], "done": [done or ()], "error": [reason]}
