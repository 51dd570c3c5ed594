"""The data of a run, the same on all workers, and what it decides of the configuration."""

import dataclasses

from cueco_tf import data
from cueco_tf.data.copies import keep_copies
from cueco_tf.data.stores import CacheError
from cueco_tf.methods.building import fit_to_devices
from cueco_tf.running.starting import resolved


def load(config, data_dir, workers):
    """The data set, the same on all workers.

    The chief comes first: on a shared disk it may unpack what the others then find.
    """
    loaded = []

    def take_turn(turn):
        if turn:
            loaded.append(data.load_for(config, data_dir))

    workers.agree(lambda: take_turn(workers.is_chief), data.DataError)
    workers.agree(lambda: take_turn(not workers.is_chief), data.DataError)
    images = loaded[0]
    if workers.count == 1:  # nobody to compare with, and a fingerprint looks at every file
        return images
    size = f"{len(images.train)} training images, {images.num_classes} classes"
    found = f"{size} (fingerprint {images.train.fingerprint()[:12]})"
    chief_found = workers.share(found.encode()).decode()

    def compare():
        if found != chief_found:
            raise data.DataError(f"The chief found {chief_found} in {config.dataset}, not {found}.")

    workers.agree(compare, data.DataError)
    return images


def scored_on(config, images, data_dir, workers):
    """The data set that the run is scored on, which is the chief's work."""

    def load():
        return data.scored_for(config, images, data_dir) if workers.is_chief else images

    return workers.agree(load, data.DataError)


def completed(config, images, workers):
    """The configuration with all that its data and devices decide."""
    if config.train_images is not None:  # that of a run which was begun earlier
        return config
    config = resolved(config, images.facts(), aloud=workers.is_chief)
    config = dataclasses.replace(config, fingerprint=images.train.fingerprint())
    with workers.strategy.scope():
        return fit_to_devices(config)


def keep(images, cache, workers, held, trained=True):
    """The same data set, whose images are decoded once.

    Args:
        images: `ImageSet`.
        cache: where their small copies are kept, as in `data.copies.keep_copies`.
        workers: `Workers`.
        held: `contextlib.ExitStack`, at whose end the copies are let go of.
        trained: whether the run is trained on it, and not scored alone. Defaults to True.
    """

    def begin():
        return held.enter_context(keep_copies(images, cache, trained))

    return workers.agree(begin, CacheError)
