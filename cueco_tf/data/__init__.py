"""Images in: data sets, their splits, the two views of each image.

`load` gives a data set by name, as an `ImageSet` of splits; `load_for` that of a run.
"""

from cueco_tf.lazy import names_of

__getattr__, __dir__, __all__ = names_of(
    __name__,
    {
        "load": "sets",
        "load_for": "sets",
        "reading_of": "sets",
        "Reading": "image_files",
        "ArraySplit": "splits",
        "DataError": "splits",
        "FileSplit": "splits",
        "ImageSet": "splits",
        "TwoViews": "augment",
    },
)
