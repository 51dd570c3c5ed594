"""All parts of a source, checked, and read as one table."""

import collections
import itertools
import re
from pathlib import Path

from cueco_tf.embedding.shards import WHAT, PartsError, Shard, damaged, differing, open_part
from cueco_tf.embedding.tables import open_table, parquet_blocks, parquet_dim
from cueco_tf.progress import tqdm

_NAME = re.compile(r"part-(\d{5,})-of-(\d{5,})\.parquet")


class Parts:
    """All parts of a whole, checked: a table (see `tables`).

    `rows` is how many images have a row, `origin` which export made the rows, `whole` what
    `shards.identity` returned of all.

    Args:
        folder: path of the parts.

    Raises:
        PartsError: where parts are missing, damaged, or belong to something else.
    """

    def __init__(self, folder):
        self._folder, self._shards = Path(folder), _shards(Path(folder))
        known, self.rows = [], 0
        for shard in self._shards:
            file, said = open_part(folder, shard)
            with file:
                self.rows += file.metadata.num_rows
                self.dim = parquet_dim(file)
            known.append({name: said["part"].get(name) for name in WHAT})
            if shard.index == 0:
                self.origin = said["origin"]
        self.whole = _same(folder, known)

    def blocks(self, columns):
        """Yields dicts of columns: see `tables`."""
        bar = tqdm(total=self.rows, desc=f"Reading {', '.join(columns)}", unit=" rows", leave=False)
        with bar:
            for shard in self._shards:
                for block in self._blocks_of(shard, columns):
                    yield block
                    bar.update(len(block[columns[0]]))

    def pieces(self):
        """Yields the parts, each as a table."""
        return (open_table(shard.path(self._folder)) for shard in self._shards)

    def skipped(self):
        """Yields `(name, reason)` of each image without a row."""
        for shard in self._shards:
            file, said = self._open(shard)
            file.close()
            yield from said["part"]["skipped"]

    def _open(self, shard):
        file, said = open_part(self._folder, shard)
        if differing(said["part"], self.whole):
            raise PartsError(f"{shard.path(self._folder)} was written anew meanwhile. Try again.")
        return file, said

    def _blocks_of(self, shard, columns):
        file, said = self._open(shard)
        with file:
            try:
                yield from parquet_blocks(file, said["names"], columns)
            except (OSError, ValueError) as error:
                raise damaged(self._folder, shard, error) from error


def holds_parts(folder):
    """Whether there is a part in a folder."""
    return bool(_found(Path(folder)))


def _found(folder):
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return {Shard(*map(int, name.groups())) for name in map(_NAME.fullmatch, names) if name}


def _shards(folder):
    """The shards of the parts in a folder, in order, all there."""
    found = _found(folder)
    if not found:
        raise PartsError(
            f"There are no parts in {folder}. Make them: python -m pipelines.embed EXPORT SOURCE "
            f"--shard I/N --output {folder}"
        )
    counts = sorted({shard.count for shard in found})
    if len(counts) > 1:
        raise PartsError(
            f"{folder} holds parts of {' and of '.join(map(str, counts))}: take away those that "
            f"you do not want."
        )
    missing = sorted(set(range(counts[0])) - {shard.index for shard in found})
    if missing:
        raise PartsError(
            f"{folder} lacks {len(missing):,} of {counts[0]:,} parts: {_ranges(missing)}. Make "
            f"them: python -m pipelines.embed EXPORT SOURCE --shard I/{counts[0]} --output {folder}"
        )
    return sorted(found)


def _same(folder, known):
    """What most parts say that they belong to. PartsError where some say something else."""
    texts = [repr(each) for each in known]
    usual = known[texts.index(collections.Counter(texts).most_common(1)[0][0])]
    other = [i for i, each in enumerate(known) if each != usual]
    if other:
        count = len(known)
        raise PartsError(
            f"{len(other):,} of {count:,} parts in {folder} belong to another "
            f"{differing(known[other[0]], usual)}: {_ranges(other)}. Make them anew: --shard "
            f"I/{count} --overwrite"
        )
    return usual


def _ranges(numbers):
    """Ascending numbers in words: `2, 5 to 7`; of many ranges the first ones."""
    runs = itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    ends = [[number for _, number in run] for _, run in runs]
    words = [f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in ends]
    return ", ".join([*words[:10], *(["..."] if len(words) > 10 else [])])
