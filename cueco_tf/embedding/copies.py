"""Embedded images copied into a folder a cluster, to look at them."""

import contextlib
import shutil
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from cueco_tf.embedding.sources import SourceError
from cueco_tf.ownership import own
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
def copies(folder, source, part, num_clusters):
    """Copies the images, which get the folder's name once the block has succeeded, all or none.

    The folder is owned meanwhile.

    Args:
        folder: path of a folder that is not there yet, or None to copy nothing.
        source: what `sources.open_source` returned.
        part: `PartFile`, flushed.
        num_clusters: integer >= 1; the cluster's number is the folder's name, in as many digits
            as the last one needs.

    Raises:
        SourceError: for an image that cannot be read any more, or a copy that cannot be written.
        InUseError: where another process copies into the folder.
    """
    if folder is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(own(folder))
        with embeddings_kept(folder):
            partial = stack.enter_context(new_folder(folder))
            _copy(partial, source, part, len(str(num_clusters - 1)))
        if folder.exists():  # made while this process embedded
            raise SourceError(f"{folder} exists. Choose a new folder for --copy-to.")
        yield
        with embeddings_kept(folder):
            stack.close()


def _copy(folder, source, part, digits):
    with tqdm(total=part.rows, desc="Copying", unit=" images", leave=False) as bar:
        for block in part.blocks():
            for i, cluster in zip(block["index"], block["cluster"], strict=True):
                target = folder / f"{cluster:0{digits}d}"
                target.mkdir(parents=True, exist_ok=True)
                origin = Path(source.name(i))
                if origin.is_file():
                    target /= origin.name
                    while target.exists():  # of the same name in another folder
                        target = target.with_stem(f"{target.stem}-{i}")
                    shutil.copyfile(origin, target)
                else:
                    images, _, skipped = source.load(i, i + 1)
                    if skipped:
                        name, reason = skipped[0]
                        raise SourceError(f"{name} cannot be copied any more: {reason}")
                    Image.fromarray(images[0]).save(target / f"{i:08d}.png")
                bar.update()
