"""The command line of `embed`."""

from pathlib import Path

from cueco_tf.export.devices import DEVICES
from cueco_tf.export.reading import cores
from pipelines.command import add_data_dir, parser_of

_DESCRIPTION = """\
Turns images into embeddings and clusters with an exported encoder. Needs ONNX Runtime, NumPy,
Pillow and tqdm, and no TensorFlow.

  python -m pipelines.embed exported/digits PHOTOS --output photos.npz
  python -m pipelines.embed exported/digits list.txt --output photos.parquet
  python -m pipelines.embed exported/digits images.npy --output images.npz
  python -m pipelines.embed exported/digits digits --split train --output digits.npz
  python -m pipelines.embed exported/digits PHOTOS --output photos.npz --copy-to sorted
                                         copies the images into a folder a cluster: look at them
  python -m pipelines.embed exported/digits list.txt --shard 3/16 --output parts
  python -m pipelines.embed --merge parts --output photos.npz
                                         the work of 16 processes on any machines, 0/16 to 15/16,
                                         then one file, as a single process would have written it
  python -m pipelines.embed exported/digits list.txt --engine ray --output parts
                                         the same parts by a Ray cluster, or one on this machine
  python -m pipelines.embed exported/digits PHOTOS --update photos.npz
                                         embeds what is new or has changed and drops what is gone

SOURCE is a folder (images at any depth), or several with commas between them; a text file with a
path a line, or CSV with the column path (relative to the list's own folder); an .npy array of uint8
images of the encoder's size; parquet:GLOB or tar:GLOB, as in training; or, with TensorFlow
installed, the name of a data set. Image files are turned upright, changed to RGB and cut to their
central square.

FILE gets, in the order of the source: paths, embeddings (n, dim) float32, clusters (n,) int64,
similarities (n,) float32 to the cluster's centroid. Images that cannot be read have no row; they
are listed with the reason in FILE.skipped.csv.

A shard writes DIR/part-IIIII-of-NNNNN.parquet. A part that is there is left alone, so that any
shard may be started again, or twice. Which parts are missing, --merge says. Parts need pyarrow.

An update gives what embedding anew would give. It goes by what FILE holds of each image's file:
sizes and mtimes_ns (n,) int64, hashes (n, 16) uint8, BLAKE2b.
"""

_EPILOG = """\
Stopped or killed, the same command goes on from the last block that was finished.
Exit codes: 0 finished, 2 a wrong value, an unusable file or no space, 3 finished, but some images
were skipped (a shard: 0; its part keeps the list for the merge), 130 stopped.
"""


def build_parser():
    """The command line."""
    parser = parser_of("embed", _DESCRIPTION, _EPILOG)
    parser.add_argument(
        "export", metavar="EXPORT", nargs="?", help="folder of python -m pipelines.export"
    )
    parser.add_argument("source", metavar="SOURCE", nargs="?", help="the images: see above")
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="FILE.npz or FILE.parquet; of a shard the folder of parts (default: SOURCE's name "
        "with .npz, in this folder; of --update FILE, FILE)",
    )
    parser.add_argument(
        "--copy-to",
        metavar="DIR",
        type=Path,
        help="also copy the images into a folder a cluster, below DIR, which must be new",
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help=f"default: all cores, {cores()}; of each worker of Ray, all of its smallest machine",
    )
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="auto",
        help="what the network runs on; auto takes a GPU that ONNX Runtime can use (default: auto)",
    )
    _add_several_times(parser)
    _add_reading(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace FILE, or the part")
    return parser


def _add_several_times(parser):
    """Options for work that is done by several processes, or again."""
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="embed the I-th of N equal shares of the images, I from 0, into its part",
    )
    parser.add_argument(
        "--engine",
        choices=("ray",),
        help="embed all shards by the workers of Ray Data: of the cluster that RAY_ADDRESS or ray "
        "start names, else of one that is started for it",
    )
    parser.add_argument(
        "--shards",
        type=int,
        metavar="N",
        help="of --engine ray (default: one for each 100,000 images, 16 at least)",
    )
    parser.add_argument("--merge", metavar="DIR", type=Path, help="join the parts in DIR to FILE")
    parser.add_argument(
        "--update",
        metavar="OLD",
        type=Path,
        help="take what has not changed since from OLD, a FILE or DIR of the same export",
    )
    parser.add_argument(
        "--by-hash",
        action="store_true",
        help="the content says if an image has changed, in place of its file's size and time",
    )


def _add_reading(parser):
    """Options that say which images are read, and how."""
    add_data_dir(parser)
    parser.add_argument(
        "--split", choices=("train", "test"), help="of a data set (default: test, if there is one)"
    )
    parser.add_argument(
        "--pixel-range",
        metavar=("LOW", "HIGH"),
        nargs=2,
        type=float,
        help="pixels that are black and white in the files (default: as in the encoder's training)",
    )
    parser.add_argument(
        "--max-megapixels",
        metavar="X",
        type=float,
        help="larger image files are skipped (default: as in the encoder's training)",
    )
