"""Pieces of the photographs that two packages bring, one folder a photograph.

    python -m pip download --no-deps scikit-image==0.26.0
    python docs/results/small_photographs.py scikit_image-0.26.0-*.whl pieces

Thirteen photographs of scikit-image's wheel and two of scikit-learn, the largest square of each
brought to 320 pixels and cut into 25 pieces of 64.
"""

import io
import sys
import zipfile
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_sample_images

_NAMES = (
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png"),
    *("grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png"),
    *("retina.jpg", "rocket.jpg"),
)
_SIDE, _PIECES = 64, 5


def main(wheel, folder):
    """Writes the pieces."""
    with zipfile.ZipFile(wheel) as archive:
        pictures = {
            Path(name).stem: Image.open(io.BytesIO(archive.read(f"skimage/data/{name}")))
            for name in _NAMES
        }
    pictures |= zip(
        ("palace", "flower"), map(Image.fromarray, load_sample_images().images), strict=True
    )
    for title, picture in pictures.items():
        own = Path(folder, title)
        own.mkdir(parents=True)
        picture, side = picture.convert("RGB"), min(picture.size)
        left, top = ((length - side) // 2 for length in picture.size)
        whole = (_SIDE * _PIECES,) * 2
        square = picture.resize(whole, box=(left, top, left + side, top + side))
        for number in range(_PIECES**2):
            y, x = (_SIDE * place for place in divmod(number, _PIECES))
            square.crop((x, y, x + _SIDE, y + _SIDE)).save(own / f"{number:02d}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
