"""The path of a page or a table, which a notebook shows."""

import html
from pathlib import Path

_SHOWN = 8_000_000  # bytes: a notebook keeps what it shows


class Table(type(Path())):
    """The path of a table in Markdown that a command wrote; a notebook shows the table."""

    def _repr_markdown_(self):
        return (
            self.read_text("utf-8") if self.suffix == ".md" else None
        )  # a parent has the kind too


class Page(type(Path())):
    """The path of an HTML page that a command wrote; a notebook shows the page in a frame."""

    def _repr_html_(self):
        if self.suffix != ".html":  # a parent has the kind too
            return None
        size = self.stat().st_size
        if size > _SHOWN:
            return f"{html.escape(str(self))} ({size / 1e6:.0f} MB): open it in a browser"
        text = html.escape(self.read_text("utf-8"))
        style = "width:100%;height:600px;border:1px solid #ccc"
        return f'<iframe srcdoc="{text}" style="{style}"></iframe>'
