"""Image bytes and labels in Parquet, as Hugging Face's `datasets` writes them. No TensorFlow."""

import contextlib
import functools
import json
from typing import NamedTuple

from cueco_tf.data import remote
from cueco_tf.data.columns import (
    Listing,
    ListingError,
    check_names,
    label_column,
    split_column,
)
from cueco_tf.data.patterns import files_of, split_of, state_of
from cueco_tf.data.spool import spooled
from cueco_tf.data.taken import as_array
from cueco_tf.data.tally import Left

_IMAGES, _LABELS = ("image", "img", "picture", "photo", "jpg", "png"), ("label", "labels")
_AT_ONCE = 32  # images in memory while they are copied


class _Columns(NamedTuple):
    """Which column holds the image bytes, and in which field, or None; which the labels, or None;
    and the names of their classes, or None."""

    image: str
    field: str | None
    label: str | None
    names: tuple | None


def open_table(pattern):
    """The Parquet files of a pattern, which are looked into once as long as they stay as they are.

    Args:
        pattern: as in `patterns.files_of`.

    Returns:
        `Table`.

    Raises:
        ListingError: for what is no Parquet, or has no column of image bytes, or labels that are
            neither integers nor text; or where pyarrow is not installed.
    """
    files = files_of(pattern, "parquet", ".parquet")
    return Table(f"parquet:{pattern}", tuple(files), tuple(map(state_of, files)))


@functools.lru_cache(4)
class Table:
    """Parquet files of images, of which only the descriptions have been read.

    Args:
        title: what the user calls them.
        files: their names.
        states: of each, as `patterns.state_of` gives it.
    """

    def __init__(self, title, files, states):
        self.title, self.files, self.columns = title, files, None
        for name in self.files:
            with _opened(name) as file:
                found = _columns(name, file.schema_arrow)
            self.columns = self.columns or found
            if found != self.columns:
                raise ListingError(
                    f"{name} should have the columns and classes of {self.files[0]}: "
                    f"{_shown(self.columns)}. Received: {_shown(found)}"
                )

    def listing(self, data_dir=None, copy=True):
        """Lists the images, file after file, once they are copied out (`spool`).

        Args:
            data_dir: as in `spool.spool_folder`.
            copy: whether to copy those that have not been. Defaults to True.

        Returns:
            `Listing`.

        Raises:
            ListingError: for labels of two kinds, and as `spool.spooled`.
        """
        labels, members, splits = self.labels, [], []  # those of two kinds before any copy
        for name in self.files:
            with _opened(name) as file:
                read = functools.partial(self._images, file) if copy else None
                images = spooled(name, self._path, read, *self._extent(file), data_dir)
            members += images
            splits += [split_of(name)] * len(images)
        if not members:
            raise ListingError(f"There is no image in {self.title}: its tables have no rows.")
        paths, split = as_array(members, len(members)), split_column(splits, self.title)
        return Listing(self.title, paths, Left(), labels, split, self.columns.names)

    @functools.cached_property
    def labels(self):
        """What `label_column` makes of the labels, or None where there are none."""
        column, labels = self.columns.label, []
        if column is None:
            return None
        for name in self.files:
            with _opened(name) as file:
                labels += file.read(columns=[column])[column].to_pylist()
        labels = label_column(labels, self.title)
        if self.columns.names is not None:
            check_names(labels, self.columns.names, self.title)
        return labels

    @property
    def _path(self):
        """The column of image bytes, as Parquet names it."""
        return ".".join(filter(None, (self.columns.image, self.columns.field)))

    def _images(self, file):
        """Yields the bytes of a file's images, a few at a time."""
        import pyarrow.compute

        field = self.columns.field
        for batch in file.iter_batches(_AT_ONCE, columns=[self._path]):
            cells = batch.column(self.columns.image)
            yield from (pyarrow.compute.struct_field(cells, field) if field else cells).to_pylist()

    def _extent(self, file):
        """How many images a file holds, and about how many bytes they have."""
        groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
        columns = (group.column(i) for group in groups for i in range(group.num_columns))
        wanted = (each for each in columns if each.path_in_schema == self._path)
        return file.metadata.num_rows, sum(each.total_uncompressed_size for each in wanted)


@contextlib.contextmanager
def _opened(file):
    """A `pyarrow.parquet.ParquetFile`, for a block that reads it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ListingError(
            "Parquet files are read with pyarrow: python -m pip install 'cueco-tf[parquet]'"
        ) from error
    try:
        # Not a whole row group at once: some files are one.
        how = dict(buffer_size=2**20, pre_buffer=False)
        with contextlib.ExitStack() as held:
            far = remote.is_remote(file)
            source = held.enter_context(remote.opened(file)) if far else file
            yield held.enter_context(pyarrow.parquet.ParquetFile(source, **how))
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ListingError(f"{file} cannot be read as Parquet: {reason}") from error


def _columns(file, schema):
    """The `_Columns` of a schema."""
    from pyarrow import types

    binary = {}
    for column in schema:
        field, kind = None, column.type
        if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            field, kind = "bytes", kind.field("bytes").type
        if _is_binary(kind):
            binary[column.name] = field
    features = _features(schema)
    told = [name for name in binary if features.get(name, {}).get("_type") == "Image"]
    likely = told or [name for name in _IMAGES if name in binary] or list(binary)
    if not likely or (len(likely) > 1 and not told and likely[0] not in _IMAGES):
        found = ", ".join(f"{field.name}: {field.type}" for field in schema)
        raise ListingError(
            f"{file} should have a column of image bytes, binary or a struct with the field bytes, "
            f"called image where there are several. Received: {found[:200] or 'no columns'}"
        )
    label = _label(file, schema, features)
    names = features.get(label, {}).get("names")
    names = None if names is None else tuple(map(str, names))
    return _Columns(likely[0], binary[likely[0]], label, names)


def _label(file, schema, features):
    """The name of the column of labels, or None."""
    from pyarrow import types

    told = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    name = next((name for name in (*_LABELS, *told) if name in schema.names), None)
    if name is None:
        return None
    kind = schema.field(name).type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if not (types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)):
        raise ListingError(
            f"The labels of {file} should be integers or text. Received: {name}: {kind}"
        )
    return name


def _is_binary(kind):
    from pyarrow import types

    return types.is_binary(kind) or types.is_large_binary(kind)


def _features(schema):
    """What Hugging Face's `datasets` wrote of the columns: a dict by name, empty where it did
    not."""
    try:
        told = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: each for name, each in told.items() if isinstance(each, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _shown(columns):
    classes = "" if columns.names is None else f" of {len(columns.names)} classes"
    return f"{columns.image}, {columns.label or 'no labels'}{classes}"
