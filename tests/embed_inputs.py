"""What the tests of embedding share: images of every kind, and a look at what was written.

Its fixtures are there for all tests: `conftest` names it.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cueco_tf.data.scan import find
from pipelines import embed

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ["paths", "embeddings", "clusters", "similarities"]
STATES = ["sizes", "mtimes_ns", "hashes"]


def run(*arguments):
    """Embeds in this process; the exit code."""
    return embed.main([str(argument) for argument in arguments])


def read(path):
    with np.load(path, allow_pickle=False) as file:
        assert file.files == ["paths_utf8", *COLUMNS[1:], *STATES]
        paths = file["paths_utf8"].tobytes().decode().split("\0")
        return {"paths": np.array(paths), **{name: file[name] for name in COLUMNS[1:]}}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def array(tmp_path, digits):
    """The test digits as an .npy file."""
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "digits.npy", digits.test.images)
    return tmp_path / "in" / "digits.npy"


@pytest.fixture
def photos(tmp_path, cifar):
    """Real images in every shape that people have: `(folder, names in order, names unreadable)`."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    pictures = [
        Image.fromarray(image).resize((64, 48), Image.Resampling.BICUBIC)
        for image in cifar.test.images[:16]
    ]
    pictures[0].save(folder / "a-plain.jpg")
    pictures[1].convert("L").save(folder / "b-gray.png")
    pictures[2].convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "c-palette.gif")
    pictures[3].convert("CMYK").save(folder / "deep" / "d-cmyk.jpg")
    gray = np.asarray(pictures[4].convert("L"))
    Image.fromarray(gray.astype(np.uint16) * 257).save(folder / "e-sixteen.png")
    Image.fromarray(gray.astype(np.int32) * 257).save(folder / "f-integer.tif")
    pictures[5].save(folder / "g-animated.gif", save_all=True, append_images=pictures[6:9])
    turned = pictures[9].transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned clockwise by who shows it
    turned.save(folder / "h-turned.png", exif=exif)
    clear = pictures[10].convert("RGBA")
    clear.putalpha(0)
    clear.save(folder / "i-transparent.png")
    pictures[11].convert("1").save(folder / "j-black-and-white.png")

    (folder / "k-broken.jpg").write_bytes(b"not an image")
    pictures[12].save(folder / "l-cut.png")
    (folder / "l-cut.png").write_bytes((folder / "l-cut.png").read_bytes()[:900])
    Image.new("1", (20_000, 20_000)).save(folder / "m-bomb.png")
    Image.fromarray(gray.astype(np.float32)).save(folder / "n-float.tif")
    (folder / "o-empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no image")
    broken = ["k-broken.jpg", "l-cut.png", "m-bomb.png", "n-float.tif", "o-empty.png"]
    found = [Path(path).name for path in find(folder).paths]
    return folder, [name for name in found if name not in broken], broken


@pytest.fixture
def few(tmp_path, digits):
    """A list of three image files of one picture, whose names collide when they are copied."""
    paths = [tmp_path / "few" / name for name in ("d0/a-2.png", "d1/a.png", "d2/a.png")]
    for path in paths:
        path.parent.mkdir(parents=True)
        Image.fromarray(digits.test.images[0]).save(path)
    (tmp_path / "few" / "list.txt").write_text("\n".join(map(str, paths)))
    return tmp_path / "few" / "list.txt"
