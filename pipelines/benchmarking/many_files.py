"""A folder of very many files: how long training takes to scan and split it, and what memory.

A tree of small images is made for the purpose, hard links to a few of them, a class a sub-folder;
one path is as long as they get. It is loaded in a process of its own, once with a single file a
class, which tells what the libraries take, and once whole.
"""

import concurrent.futures
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

from pipelines.benchmarking.measuring import Findings, peak_memory

_LINKS = 10_000  # to one file: file systems allow some ten thousand
_LONG = 4  # folders of 200 letters above one image


def add_options(parser):
    """Its part of the command line."""
    parser.add_argument("--files", type=int, default=1_000_000, help="(default: 1000000)")
    parser.add_argument("--classes", type=int, default=1000, help="(default: 1000)")


def measure(options):
    """Makes the tree, loads it; it is removed afterwards."""
    facts = {}
    with tempfile.TemporaryDirectory() as folder:
        for title, files in (("few files", 2 * options.classes), ("all files", options.files)):
            root = Path(folder, title.replace(" ", "-"))
            _make_tree(root, files, options.classes)
            seconds, memory, longest = _alone(root)
            facts[f"{title}: count"] = files
            facts[f"{title}: seconds"] = seconds
            facts[f"{title}: peak memory, MiB"] = memory
        facts["longest path, characters"] = longest
    return Findings({"files": options.files, "classes": options.classes}, (), facts)


def _make_tree(root, files, classes):
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    sources = root.with_name(f"{root.name}-sources")
    sources.mkdir()
    for i in range(-(-files // _LINKS)):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(sources / f"{i}.png")
    for name in range(classes):
        (root / f"class-{name:05}").mkdir(parents=True)
    for i in range(files - 1):
        target = root / f"class-{i % classes:05}" / f"a photograph of some kind {i:09}.png"
        os.link(sources / f"{i // _LINKS}.png", target)
    deep = root.joinpath("class-00000", *("x" * 200 for _ in range(_LONG)), "0.png")
    deep.parent.mkdir(parents=True)
    os.link(sources / "0.png", deep)


def _alone(root):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_load, root).result()


def _load(root):
    """In a fresh process: seconds, the most memory of the whole process, the longest path."""
    from cueco_tf import data

    start = time.monotonic()
    images = data.load(f"folder:{root}")
    images.train.fingerprint()
    longest = max(len(path) for split in (images.train, images.test) for path in split.paths)
    return time.monotonic() - start, peak_memory(), longest
