"""WebDataset shards: images in tars, each beside the files that say what it is. No TensorFlow.

What belongs together has one key, the name up to its first dot. Of a tar, only the headers are
read, once; then every image is read from its own place, in any order.
"""

import functools
import json
import tarfile
from pathlib import Path

from cueco_tf.data.columns import Listing, ListingError, label_column, split_column
from cueco_tf.data.formats import suffixes
from cueco_tf.data.members import Member, state
from cueco_tf.data.patterns import files_of, split_of
from cueco_tf.data.taken import as_array
from cueco_tf.data.tally import Left, printable
from cueco_tf.progress import tqdm

_LABELS = ("cls", "json", "txt")  # the first that says one counts
_LARGEST_LABEL = 2**20  # bytes
_FURTHER = "further images of a key, which ends at the first dot of a name"


def list_tars(pattern):
    """Lists the images of tars.

    Args:
        pattern: as in `patterns.files_of`.

    Returns:
        `Listing`, tar after tar, in each in the order of its members.

    Raises:
        ListingError: for a file that is no tar, or is cut off, or where there is no image.
    """
    left, members, labels, splits = Left(), [], [], []
    files = files_of(pattern, "tar", ".tar")
    for file in tqdm(files, "Reading the headers", unit="tar", leave=False, delay=2):
        images, said, others = _index(file, *state(file))
        left.add_all(others)
        members += images
        labels += said
        splits += [split_of(file)] * len(images)
    if not members:
        raise ListingError(f"There is no image in {pattern}. Left out: {left}")
    paths, title = as_array(members, len(members)), f"tar:{pattern}"
    told = None if _are_captions(labels) else label_column((each for _, each in labels), title)
    return Listing(title, paths, left, told, split_column(splits, title))


def _are_captions(labels):
    """Whether labels, `(suffix, label)`, are texts, of which most stand beside one image alone."""
    texts = [label for suffix, label in labels if suffix == "txt"]
    return len(texts) > 1 and len(set(texts)) > len(texts) / 2


@functools.lru_cache(None)
def _index(file, size, mtime_ns):
    """What a tar in this state holds: the images, as `Member`s; for each `(suffix, label)`; and
    what is left of other members: `Left`."""
    formats, images, texts, left = suffixes(), {}, {}, Left()
    try:
        with tarfile.open(file, "r:") as tar:
            for member in _members(tar):
                folder, _, name = member.name.rpartition("/")
                key, kind = (folder, name.partition(".")[0]), name.partition(".")[2].lower()
                suffix = Path(name).suffix.lower()
                if suffix in formats and key in images:
                    left.add(_FURTHER, printable(name))
                elif suffix in formats:
                    place = file, member.offset_data, member.size
                    images[key] = Member(f"{file}#{member.name}", *place)
                elif kind in _LABELS and member.size <= _LARGEST_LABEL:
                    texts.setdefault(key, {})[kind] = tar.extractfile(member).read()
                else:
                    left.add_suffix(printable(suffix) or "no suffix", printable(name))
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise ListingError(
            f"{file} is no tar that can be read to its end, or it is compressed, so that no image "
            f"can be read by itself: {printable(str(error))}"
        ) from error
    labels = [_label(key, texts.pop(key, {}), file) for key in images]
    for _, key in texts:
        left.add("labels of no image", printable(key))
    return list(images.values()), labels, left


def _members(tar):
    """Yields the files of a tar.

    Raises:
        tarfile.ReadError: where it ends before its end mark, which `tarfile` lets pass.
    """
    while (member := tar.next()) is not None:
        tar.members.clear()  # it would keep a kilobyte of each
        if member.isreg() and not member.issparse():
            yield member
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"it breaks off at byte {tar.offset:,}")


def _label(key, texts, file):
    """`(suffix, label)` of an image, by what stands beside it, or `(None, None)`."""
    for kind in _LABELS:
        if kind not in texts:
            continue
        label = texts[kind].decode(errors="replace").strip()
        if kind == "json":
            try:
                label = json.loads(label)
            except ValueError as error:
                name = printable("/".join(key).lstrip("/"))
                raise ListingError(f"{file}#{name}.json is no JSON: {error}") from error
            label = label.get("label") if isinstance(label, dict) else None
        if label is not None:
            return kind, label
    return None, None
