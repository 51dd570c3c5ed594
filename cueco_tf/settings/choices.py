"""The names that options choose from, for all who check or list them."""

from pathlib import Path

DATASETS = (
    *("digits", "cifar10", "cifar100", "imagenet100"),
    *("folder:PATH", "array:FILE", "tfds:NAME"),
)
LABELS = ("folders", "none")  # what the sub-folders of folder:PATH are taken for
ENCODERS = ("resnet10", "resnet18", "resnet34", "resnet50")
OPTIMIZERS = ("sgd", "lars")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
DISTRIBUTIONS = ("auto", "none", "mirrored", "multiworker")
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
    """The data set that a name stands for: a path of a folder, or of an .npy or .npz file, does
    without `folder:` and `array:` where there is such a one and no set of that name."""
    if not isinstance(text, str) or text in DATASETS or ":" in text or "\0" in text:
        return text
    try:
        path = Path(text).expanduser()
        if path.is_dir():
            return f"folder:{text}"
        return f"array:{text}" if path.suffix in (".npy", ".npz") and path.is_file() else text
    except (OSError, RuntimeError):  # no name of a file, or of a home
        return text
