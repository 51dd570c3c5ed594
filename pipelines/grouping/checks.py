"""What of the command line of `clusters` cannot work."""

import importlib.util

from cueco_tf.ownership import check_free
from pipelines.command import UsageError, check_folder, check_parent, check_seed
from pipelines.grouping.methods import is_run, method_of


def check_options(options):
    """Raises UsageError for values that cannot work, before anything is read; `method` becomes
    one."""
    options.count = _number("--count", options.count, int, "a number of at least 1", 1, None)
    if options.method == "head" and options.count == 1:
        raise UsageError("--method head needs a --count of at least 2. Received: 1")
    options.other = _number("--other", options.other, float, "a similarity in [-1, 1]", -1, 1)
    if not options.source.exists():
        raise UsageError(
            f"There is no {options.source}. Make a file of embeddings: python -m pipelines.embed "
            f"EXPORT IMAGES --output embeddings.npz"
        )
    if options.with_embeddings and not importlib.util.find_spec("pyarrow"):
        raise UsageError("--with-embeddings, in points.parquet, needs pyarrow: pip install pyarrow")
    check_seed(options.seed)
    check_folder(options.output, options.overwrite, "clusters", "clusters.json")
    for option, folder in (("--copy-to", options.copy_to), ("--link-to", options.link_to)):
        if folder is not None and folder.exists():  # never overwritten: it may hold anything
            raise UsageError(f"{folder} exists. Choose a new folder for {option}.")
        if folder is not None:
            check_parent(option, folder)
            check_free(folder)
    options.method = method_of(options)
    if is_run(options.source):
        _check_run(options)


def _check_run(options):
    """Raises UsageError or RunError for what a run cannot give, before TensorFlow is imported."""
    from cueco_tf.running.run_folder import RunFolder
    from pipelines.grouping.grouping import check_count

    if options.copy_to or options.link_to:
        raise UsageError(
            "Only images that are files, or rows of an .npy array, can be sorted into folders: "
            "embed those (python -m pipelines.embed) and give the file in place of the run."
        )
    check_count(options.source, RunFolder(options.source).read_config().train_images, options.count)


def _number(option, text, kind, wanted, least, most):
    """The number of an option; None and `auto` stay what they are."""
    if text in (None, "auto"):
        return text
    try:
        value = kind(str(text))
    except ValueError:
        value = None
    if value is None or not value >= least or (most is not None and value > most):
        raise UsageError(f"{option} should be {wanted}, or auto. Received: {text}")
    return value
