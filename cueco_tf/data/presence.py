"""Whether a data set can be there: told in a second or two, without TensorFlow, and nothing made.

What is let pass may still be refused when it is read.
"""

import contextlib
import difflib
import re
import socket
import threading
import urllib.parse
import urllib.request

from cueco_tf.settings.choices import LISTINGS, TFDS_HOME, data_home, expanded, folders_in

_TFDS_NAMES = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet100": "imagenet2012"}
_PREPARED = ("dataset_info.json", "*/dataset_info.json", "*/*/dataset_info.json")
_PATIENCE = 1.5  # seconds for a host to answer


class MissingError(ValueError):
    """A data set that is not there and cannot be fetched; the message says what to do."""


def check_there(dataset, data_dir=None):
    """Refuses a data set that cannot be loaded, as far as that is quickly known.

    Args:
        dataset: as `data.load` takes it.
        data_dir: where TensorFlow Datasets keeps its sets; None for the environment's or its own
            place.

    Raises:
        MissingError: for a folder that is not there or empty, a list or archives without images, or
            a set of TensorFlow Datasets that is not there and cannot be downloaded.
    """
    kind, _, rest = dataset.partition(":")
    name = rest if kind == "tfds" else _TFDS_NAMES.get(dataset)
    if kind == "folder" and rest:
        for folder in folders_in(rest):
            _check_folder(folder)
    elif kind in LISTINGS and rest:
        _check_listing(kind, rest)
    elif kind == "array" and not expanded(rest).is_file():
        raise MissingError(f"There is no file {rest}. Give one of NumPy: array:FILE.npy or .npz.")
    elif name:
        _check_tfds(dataset, name, data_dir)


def _check_folder(folder):
    if folder.is_file():
        raise MissingError(f"{folder} is a file. Give the folder that it lies in: folder:PATH.")
    if not folder.is_dir():
        raise MissingError(f"There is no folder {folder}. Give an existing one: folder:PATH.")
    try:
        if not any(folder.iterdir()):
            raise MissingError(f"The folder {folder} is empty. Give one with images: folder:PATH.")
    except OSError as error:
        raise MissingError(f"{folder} cannot be read: {error.strerror}.") from error


def _check_listing(kind, rest):
    # Imported here, for all that reads images takes a while, and most sets do without.
    from cueco_tf.data.columns import ListingError
    from cueco_tf.data.listings import check_listing

    try:
        check_listing(kind, rest)
    except ListingError as error:
        raise MissingError(str(error)) from error


def _check_tfds(dataset, name, data_dir):
    folder = data_home(data_dir)
    name, _, version = name.partition(":")
    if any(next((folder / name).glob(each), None) for each in _PREPARED):
        return
    if version and not re.match(r"[\d*]", version):  # NAMESPACE:NAME, which only TFDS can look up
        return
    if not folder.is_dir() and folder != expanded(TFDS_HOME):
        raise MissingError(
            f"The data set {dataset} is not in {folder}: there is no such folder. Name another "
            f"with --data-dir or TFDS_DATA_DIR, or make it first, to have the set downloaded there."
        )
    builder = _builder(dataset, name, folder)
    downloads = folder / "downloads"
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS and not _holds_files(downloads / "manual"):
        raise MissingError(
            f"The data set {dataset} is not in {folder}, and cannot be downloaded: its files have "
            f"to be put into {downloads / 'manual'} by hand. See "
            f"https://www.tensorflow.org/datasets/catalog/{name.partition('/')[0]}"
        )
    if _holds_files(downloads) or builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        return  # TFDS can go on from there
    hosts = {urllib.parse.urlsplit(url).hostname for url in builder.url_infos}
    if hosts and not _can_reach(hosts):
        raise MissingError(
            f"The data set {dataset} is not in {folder}, and there is no network to download it: "
            f"{', '.join(sorted(hosts))} cannot be reached. Name the folder that holds it with "
            f"--data-dir or TFDS_DATA_DIR, or prepare it on a machine with network: "
            f"tfds build {name}"
        )


def _builder(dataset, name, folder):
    import tensorflow_datasets as tfds  # a second to import, and seldom needed

    try:
        return tfds.builder(name, data_dir=str(folder))
    except tfds.core.registered.DatasetNotFoundError as error:
        close = difflib.get_close_matches(name, tfds.list_builders(with_community_datasets=False))
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise MissingError(
            f"The data set {dataset} is not in {folder}, and TensorFlow Datasets knows none of the "
            f"name {name}.{hint} Or name the folder that holds it with --data-dir."
        ) from error
    except Exception as error:  # of many kinds, as for a configuration that is not there
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise MissingError(f"TensorFlow Datasets refuses {dataset}: {reason}") from error


def _holds_files(folder):
    return folder.is_dir() and any(path.is_file() for path in folder.iterdir())


def _can_reach(hosts):
    """Whether one of the hosts, or the proxy that leads to it, takes a connection."""
    proxies = urllib.request.getproxies()
    proxy = urllib.parse.urlsplit(proxies.get("https") or proxies.get("http") or "")
    addresses = [(host, 443) for host in hosts]
    if proxy.hostname:
        addresses = [(proxy.hostname, proxy.port or 80)]
    reached = threading.Event()

    def attempt(address):
        with contextlib.suppress(OSError), socket.create_connection(address, _PATIENCE):
            reached.set()

    # In threads: looking up a name cannot be told to give up.
    threads = [threading.Thread(target=attempt, args=(a,), daemon=True) for a in addresses]
    for thread in threads:
        thread.start()
    for thread in threads:
        if not reached.is_set():
            thread.join(_PATIENCE)
    return reached.is_set()
