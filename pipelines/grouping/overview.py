"""The page of clusters: index.html and its figures."""

from pipelines.reporting import page, plots, style


def write_page(folder, source, grouping, looks, pictures, originals, images=None, other=None):
    """Writes index.html, and the figures as PNG files beside it.

    Args:
        folder: path, to write into.
        source: path of what was sorted.
        grouping: `Grouping`.
        looks: `Looks`.
        pictures: what `thumbnails.read` takes.
        originals: the start of the addresses of the images' files, or None.
        images: integer, how many were sorted where the page is of some of them, or None.
        other: integer, how many of these are in no cluster, or None.
    """
    figures = plots.draw_clusters(looks, grouping.curve)
    for name, figure in figures.items():
        style.save_png(figure, folder / f"{name}.png")
    text = page.render(
        "clusters.html",
        looks,
        figures,
        pictures,
        originals,
        title=source.name,
        sections=[
            ("found", "Found"),
            ("clusters", "Clusters"),
            ("map", "Map"),
            ("odd", "Odd ones"),
            ("duplicates", "Duplicates"),
        ],
        sentence=grouping.sentence(),
        chosen=grouping.curve is not None,
        other=len(grouping.clusters.others) if other is None else other,
        images=images,
    )
    (folder / "index.html").write_text(text, "utf-8")
