"""Images with their names, drawn on one PNG."""

import importlib.util
import io
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from cueco_tf.storage import write_atomically

_SIDE, _GAP, _COLUMNS, _FRAME = 160, 12, 5, 3
_TEXT, _LINE, _LINES = 13, 16, 4  # size of the letters, height of a line, lines below an image


def draw(path, cells, framed=False):
    """Draws images in rows of five, each with its text below, safely: all or nothing.

    Args:
        path: of the PNG.
        cells: list of `(image, text)`: uint8 `(height, width, 3)` or None for a blank, and a
            string, of whose last line the end is kept where it is too long.
        framed: whether the first image is set apart by a frame. Defaults to False.
    """
    font = letters()
    count = min(_COLUMNS, len(cells))
    width, height = _SIDE + _GAP, _SIDE + _LINES * _LINE + _GAP
    whole = (count * width + _GAP, -(-len(cells) // count) * height + _GAP)
    sheet = Image.new("RGB", whole, "white")
    pen = ImageDraw.Draw(sheet)
    for number, (image, text) in enumerate(cells):
        left, top = _GAP + number % count * width, _GAP + number // count * height
        if image is not None:
            sheet.paste(_fit(image), (left, top))
        if framed and not number:
            edge = left - _FRAME - 1, top - _FRAME - 1, left + _SIDE + _FRAME, top + _SIDE + _FRAME
            pen.rectangle(edge, outline="black", width=_FRAME)
        for line, words in enumerate(_lines(text, font)):
            pen.text((left, top + _SIDE + 2 + line * _LINE), words, "black", font)
    content = io.BytesIO()
    sheet.save(content, "PNG")
    write_atomically(path, lambda temporary: temporary.write_bytes(content.getvalue()))


def letters():
    """DejaVu Sans, which has Latin, Greek, Cyrillic, Arabic and more; it comes with matplotlib.
    Pillow's own font where that is missing."""
    found = importlib.util.find_spec("matplotlib")  # importing it takes half a second
    if found is not None:
        path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(path, _TEXT)
    return ImageFont.load_default(_TEXT)


def _fit(image):
    image = Image.fromarray(image)
    kind = Image.Resampling.NEAREST if image.width < _SIDE else Image.Resampling.LANCZOS
    return image.resize((_SIDE, _SIDE), kind)


def _lines(text, font):
    """The text in lines that fit, four at most; of a longer one the end is kept."""
    first, _, name = text.rpartition("\n")
    lines = [""]
    for letter in name:
        if font.getlength(lines[-1] + letter) > _SIDE:
            line = lines.pop()
            end = max(line.rfind(mark) for mark in " _-/") + 1
            end = end if end > len(line) / 2 else len(line)  # between words, where that is near
            lines += [line[:end], line[end:]]
        lines[-1] += letter
    kept = _LINES - len(first.split("\n"))
    if len(lines) > kept:
        lines = lines[-kept:]
        lines[0] = "\N{HORIZONTAL ELLIPSIS}" + lines[0][1:]
    return [*first.split("\n"), *lines]
