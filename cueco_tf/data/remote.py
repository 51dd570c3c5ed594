"""Files of object stores and servers, by their URL: `s3://`, `gs://`, `https://`. No TensorFlow.

fsspec knows each kind of store by a package of its own (s3fs, gcsfs, aiohttp), which it names where
it is missing.
"""

import contextlib
import hashlib

from cueco_tf.data.columns import ListingError


def is_remote(name):
    """Whether a name is a URL."""
    return "://" in str(name)


def matches(pattern, suffix):
    """The URLs of the files that a pattern matches, or of all of a suffix below a folder, sorted.

    Raises:
        ListingError: where the store cannot be reached.
    """
    with _words(pattern):
        system, path = _system(pattern)
        if any(letter in path for letter in "*?["):
            found = [each for each in system.glob(path) if system.isfile(each)]
        elif system.isfile(path):
            found = [path]
        else:
            found = [each for each in system.find(path) if each.endswith(suffix)]
        return sorted(map(system.unstrip_protocol, found))


def state_of(url):
    """The size of a file in bytes, and a number that is another one when it has been changed.

    Raises:
        ListingError: where it is gone, or cannot be reached.
    """
    with _words(url):
        system, path = _system(url)
        told = system.info(path)
        mark = next((told[key] for key in _MARKS if told.get(key)), "")
        return told["size"], int(hashlib.sha256(str(mark).encode()).hexdigest()[:15], 16)


# What stores tell of a file's version, each by names of its own, the surest first.
_MARKS = (
    *("ETag", "etag", "md5Hash", "Content-MD5", "blob_id"),
    *("LastModified", "Last-Modified", "last_modified", "mtime", "updated", "modified", "created"),
)


@contextlib.contextmanager
def opened(url):
    """The file, to be read in any order.

    Raises:
        ListingError: where it is gone, or cannot be reached.
    """
    with _words(url):
        system, path = _system(url)
        file = system.open(path, "rb")
    with file:
        yield file


def _system(url):
    import fsspec

    return fsspec.core.url_to_fs(url)


@contextlib.contextmanager
def _words(url):
    try:
        yield
    except ImportError as error:
        needed = "pip install fsspec" if error.name == "fsspec" else str(error).partition("\n")[0]
        raise ListingError(f"{url} cannot be read: {needed}") from error
    except Exception as error:  # each store has its own, of which not all are an OSError
        why = str(error).partition("\n")[0] or type(error).__name__
        raise ListingError(f"{url} cannot be read: {why}") from error
