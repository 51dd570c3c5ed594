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
        "scored_for": "sets",
        "Reading": "reading",
        "ArraySplit": "splits",
        "DataError": "splits",
        "FileSplit": "file_splits",
        "ImageSet": "splits",
        "TwoViews": "augment",
    },
)
