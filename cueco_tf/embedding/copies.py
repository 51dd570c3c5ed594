"""Embedded images copied into a folder a cluster, to look at them."""

import contextlib
import shutil
from pathlib import Path

from PIL import Image

from cueco_tf.data.channels import as_picture
from cueco_tf.embedding.sources import SourceError
from cueco_tf.ownership import own
from cueco_tf.progress import tqdm
from cueco_tf.storage import new_folder


@contextlib.contextmanager
def embeddings_kept(path):
    """Turns an OSError in writing `path` into one that leaves the part file as it is.

    Raises:
        SourceError: where the block raises an OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise SourceError(f"{path} was not written: {reason}. The embeddings are kept.") from error


@contextlib.contextmanager
def copies(folder, rows, count, num_clusters, load, link=False):
    """Sorts images into folders, which get their name once the block has succeeded, all or none.

    The folder is owned meanwhile.

    Args:
        folder: path of a folder that is not there yet, or None to copy nothing.
        rows: iterable of `(number, name, cluster)` of the images.
        count: integer, how many those are.
        num_clusters: integer >= 1; the cluster's number is the folder's name, in as many digits
            as the last one needs; below 0, the folder is called `other`.
        load: function of an image's number that returns it, `(height, width, channels)`, where its
            name is no file's; it raises SourceError where that cannot be.
        link: make symbolic links in place of copies. Defaults to False.

    Raises:
        SourceError: for an image that cannot be read any more, or a copy that cannot be written.
        InUseError: where another process copies into the folder.
    """
    if folder is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(own(folder))
        with embeddings_kept(folder), tqdm(total=count, desc="Copying", leave=False) as bar:
            partial = stack.enter_context(new_folder(folder))
            for i, name, cluster in rows:
                title = "other" if cluster < 0 else f"{cluster:0{len(str(num_clusters - 1))}d}"
                _place(partial / title, i, name, load, link)
                bar.update()
        if folder.exists():  # made meanwhile
            raise SourceError(f"{folder} exists. Choose a new folder for the images.")
        yield
        with embeddings_kept(folder):
            stack.close()


def copies_of_part(folder, source, part, num_clusters):
    """`copies` of the images of a part file.

    Args:
        folder: as in `copies`.
        source: what `sources.open_source` returned.
        part: `PartFile`, flushed.
        num_clusters: as in `copies`.
    """

    def load(i):
        images, _, skipped = source.load([i])
        if skipped:
            name, reason = skipped[0]
            raise SourceError(f"{name} cannot be copied any more: {reason}")
        return images[0]

    rows = (
        (i, source.name(i), cluster)
        for block in part.blocks()
        for i, cluster in zip(block["index"], block["clusters"], strict=True)
    )
    return copies(folder, rows, part.rows, num_clusters, load)


def _place(folder, i, name, load, link):
    folder.mkdir(parents=True, exist_ok=True)
    origin = Path(name)
    if not origin.is_file():
        Image.fromarray(as_picture(load(i))).save(folder / f"{i:08d}.png")
        return
    target = folder / origin.name
    while target.exists():  # of the same name in another folder
        target = target.with_stem(f"{target.stem}-{i}")
    if link:
        target.symlink_to(origin.resolve())
    else:
        shutil.copyfile(origin, target)
