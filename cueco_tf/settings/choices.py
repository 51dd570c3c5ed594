"""The names that options choose from, for all who check or list them."""

DATASETS = ("digits", "cifar10", "cifar100", "imagenet100", "folder:PATH", "tfds:NAME")
LABELS = ("folders", "none")  # what the sub-folders of folder:PATH are taken for
ENCODERS = ("resnet10", "resnet18", "resnet34", "resnet50")
OPTIMIZERS = ("sgd", "lars")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
DISTRIBUTIONS = ("auto", "none", "mirrored", "multiworker")
