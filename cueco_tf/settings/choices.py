"""The names that options choose from, for all who check or list them."""

import os
from pathlib import Path

DATASETS = (
    *("digits", "cifar10", "cifar100", "imagenet100"),
    *("folder:PATH", "list:FILE", "parquet:GLOB", "tar:GLOB", "array:FILE", "tfds:NAME"),
)
PLACED = {name.partition(":")[0] for name in DATASETS if ":" in name}  # kinds with a place
LISTINGS = ("list", "parquet", "tar")  # kinds of data sets that name their images one by one
_KINDS = {
    **{".npy": "array", ".npz": "array", ".parquet": "parquet", ".tar": "tar"},
    **{".csv": "list", ".txt": "list"},
}
LABELS = ("folders", "none")  # what the sub-folders of folder:PATH are taken for
ENCODERS = ("resnet10", "resnet18", "resnet34", "resnet50")
OPTIMIZERS = ("sgd", "lars")
MOST_CHANNELS = 16  # of an image
DEPTHS = (8, 16)  # bits of a pixel
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
DISTRIBUTIONS = ("auto", "none", "mirrored", "multiworker")
TFDS_HOME = "~/tensorflow_datasets"  # where TensorFlow Datasets keeps its sets
LOGGERS = ("tensorboard", "wandb", "mlflow")
# Those of `keras.applications`, here because that takes seconds to import.
APPLICATIONS = (
    *(f"ConvNeXt{size}" for size in ("Base", "Large", "Small", "Tiny", "XLarge")),
    *(f"DenseNet{depth}" for depth in (121, 169, 201)),
    *(f"EfficientNetB{number}" for number in range(8)),
    *(f"EfficientNetV2{size}" for size in ("B0", "B1", "B2", "B3", "L", "M", "S")),
    *("InceptionResNetV2", "InceptionV3", "MobileNet", "MobileNetV2"),
    *("MobileNetV3Large", "MobileNetV3Small", "NASNetLarge", "NASNetMobile"),
    *("ResNet101", "ResNet101V2", "ResNet152", "ResNet152V2", "ResNet50", "ResNet50V2"),
    *("VGG16", "VGG19", "Xception"),
)


def dataset_named(text):
    """The data set that a name stands for: the path of a folder, or of a file whose suffix says
    what it is, does without its kind where there is such a one and no set of that name."""
    if not isinstance(text, str) or text in DATASETS or ":" in text or "\0" in text:
        return text
    try:
        if all(folder.is_dir() for folder in folders_in(text)):
            return f"folder:{text}"
        path = expanded(text)
        kind = _KINDS.get(path.suffix.lower())
        return f"{kind}:{text}" if kind and path.is_file() else text
    except OSError:  # no name of a file
        return text


def folders_in(text):
    """The folders that a text names, as paths: one, or several with commas between them. A folder
    that is there may have a comma in its name."""
    whole = expanded(text)
    if whole.is_dir() or "," not in text:
        return (whole,)
    return tuple(expanded(part) for part in text.split(",") if part) or (whole,)


def expanded(text):
    """A path with the home in the place of `~`; as it is where there is no such home."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def data_home(data_dir=None):
    """Where TensorFlow Datasets keeps its sets: the path given, else what `$TFDS_DATA_DIR` names,
    else `~/tensorflow_datasets`."""
    return expanded(data_dir or os.environ.get("TFDS_DATA_DIR") or TFDS_HOME)


def folder_name(dataset):
    """A name for the folder of a run on a data set: `folder:a/b` gives `a-b`."""
    kind, _, rest = dataset.partition(":")
    name = rest if kind in PLACED else dataset
    return "".join(c if c.isalnum() else "-" for c in name).strip("-") or "run"


def is_path(text):
    """Whether a text can name a file."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False
