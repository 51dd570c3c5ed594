import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from cueco_tf.clustering.search import nearest_rows
from cueco_tf.embedding.any_table import open_embeddings
from cueco_tf.embedding.embeddings_file import read_file
from pipelines import embed, search
from pipelines.grouping import contact_sheet


@pytest.fixture(scope="module")
def embedded(digits_export, digits, tmp_path_factory):
    """A folder of real digits, two of them near-duplicates, and the file of their embeddings."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "digits").mkdir()
    for i, image in enumerate(digits.test.images[:80]):
        Image.fromarray(image).save(folder / "digits" / f"{i:02d}.png")
    again = digits.test.images[7].astype(int) + 3
    Image.fromarray(again.clip(0, 255).astype(np.uint8)).save(folder / "digits" / "again.png")
    arguments = [digits_export, folder / "digits", "--output", folder / "digits.npz"]
    assert embed.main([str(argument) for argument in arguments]) == 0
    return folder


def run(*arguments):
    return search.main([str(argument) for argument in arguments])


def test_the_nearest_are_those_of_scikit_learn(embedded):
    table = open_embeddings(embedded / "digits.npz")
    with np.load(embedded / "digits.npz") as file:
        embeddings = file["embeddings"]
    peer = NearestNeighbors(n_neighbors=6, metric="cosine").fit(embeddings)
    distances, rows = peer.kneighbors(embeddings[:10])
    for i in range(10):
        found = nearest_rows(table, embeddings[i], 5, own=i)
        assert [row for row, _ in found] == list(rows[i, 1:])
        np.testing.assert_allclose([s for _, s in found], 1 - distances[i, 1:], atol=1e-5)
    assert len(nearest_rows(table, embeddings[0], 1000, own=0)) == 80
    assert len(nearest_rows(table, embeddings[0], 1000)) == 81


def test_a_near_duplicate_is_found_and_drawn(embedded, capsys):
    query = embedded / "digits" / "07.png"
    assert run(embedded / "digits.npz", query, "--top", 6) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["rank", "similarity", "cluster", "path"]
    first = lines[1].split()
    assert first[0] == "1" and float(first[1]) > 0.99 and first[3].endswith("again.png")
    assert len(lines[1:]) == 6 + 2 and str(query) not in "".join(lines)
    with Image.open(embedded / "digits-nearest.png") as sheet:
        assert sheet.size == (5 * 172 + 12, 2 * 236 + 12)
        pixels = np.asarray(sheet)
    with Image.open(query) as image:
        drawn = np.asarray(image.resize((160, 160), Image.Resampling.BILINEAR), int)
    np.testing.assert_allclose(pixels[12:172, 12:172], drawn, atol=2)
    assert (pixels[8:11, 8:176] == 0).all() and (pixels[8:11, 184:] == 255).all()  # its frame
    beside = pixels[12:172, 184:344].astype(int)
    assert np.abs(beside - drawn).mean() < 5  # the duplicate
    text = pixels[174:220, 12:172]  # "the query", and its name
    assert text.min() < 100 and text.max() == 255


def test_an_image_from_elsewhere_is_embedded_first(embedded, digits, tmp_path, capsys):
    Image.fromarray(digits.test.images[20]).save(tmp_path / "new.png")
    sheet = tmp_path / "near.png"
    file = embedded / "digits.npz"
    assert run(file, tmp_path / "new.png", "--top", 2, "--sheet", sheet) == 0
    best = capsys.readouterr().out.splitlines()[1].split()
    assert float(best[1]) == pytest.approx(1, abs=1e-4) and best[3].endswith("20.png")
    assert sheet.exists()
    # Each search replaces the sheet with its own name, but no other picture unless told to.
    assert run(file, tmp_path / "new.png", "--sheet", tmp_path / "new.png") == 2
    assert "new.png exists. Choose another --sheet" in capsys.readouterr().err
    assert run(file, tmp_path / "new.png", "--sheet", sheet, "--overwrite") == 0


def test_a_row_and_a_cluster_are_looked_for_too(embedded, capsys, tmp_path):
    file, sheet = embedded / "digits.npz", tmp_path / "near.png"
    content, _ = read_file(file)
    paths, clusters = content["paths"], content["clusters"]
    unit = content["embeddings"].astype(float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)

    def found(*arguments):
        assert run(file, *arguments, "--top", 3, "--sheet", sheet, "--overwrite") == 0
        return [line.split()[3] for line in capsys.readouterr().out.splitlines()[1:4]]

    assert found("--row", 7) == found(paths[7])
    own = clusters[7]
    middle = unit[clusters == own].mean(axis=0)
    expected = paths[np.argsort(-(unit @ middle), kind="stable")[:3]]
    assert found("--cluster", own) == expected.tolist()
    # The numbers of another clustering of the same images.
    folder = tmp_path / "clusters"
    folder.mkdir()
    lines = ["path,cluster", *(f"{path},{i % 2}" for i, path in enumerate(paths))]
    (folder / "clusters.csv").write_text("\n".join(lines))
    middle = unit[1::2].mean(axis=0)
    expected = paths[np.argsort(-(unit @ middle), kind="stable")[:3]]
    assert found("--cluster", 1, "--clusters", folder) == expected.tolist()


def test_letters_beyond_ascii_are_drawn():
    font = contact_sheet.letters()
    missing = font.getmask("\U0010ffff")
    for letter in "ñÄłЖωя":
        drawn = font.getmask(letter)
        assert drawn.getbbox() is not None and bytes(drawn) != bytes(missing)


def test_names_break_between_words_and_keep_their_ends():
    font = contact_sheet.letters()
    lines = contact_sheet._lines("0.99\nchelsea Aufnähme 03.jpg", font)
    assert lines == ["0.99", "chelsea Aufnähme ", "03.jpg"]
    lines = contact_sheet._lines("0.99\n" + "a_long_name_" * 20 + "17.jpg", font)
    assert len(lines) == 4 and lines[1][0] == "\N{HORIZONTAL ELLIPSIS}"
    assert lines[-1].endswith("17.jpg")
    assert all(font.getlength(line) <= 172 for line in lines)  # what a column has


def test_a_table_without_pyarrow_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"")
    assert run(tmp_path / "a.parquet", "a.png") == 2
    assert "needs pyarrow: pip install pyarrow" in capsys.readouterr().err


def test_rows_of_an_array_are_drawn_too(digits_export, digits, tmp_path, capsys):
    np.save(tmp_path / "digits.npy", digits.test.images[:20])
    out = tmp_path / "digits.npz"
    arguments = [digits_export, tmp_path / "digits.npy", "--output", out]
    assert embed.main([str(argument) for argument in arguments]) == 0
    assert run(out, f"{tmp_path / 'digits.npy'}#3", "--top", 1) == 0
    with Image.open(tmp_path / "digits-nearest.png") as sheet:
        drawn = np.asarray(sheet)[12:172:10, 12:172:10]
    np.testing.assert_array_equal(drawn, digits.test.images[3])


def test_a_file_of_one_row_has_no_neighbours_to_show(digits_export, digits, tmp_path, capsys):
    np.save(tmp_path / "one.npy", digits.test.images[:1])
    out = tmp_path / "one.npz"
    arguments = [digits_export, tmp_path / "one.npy", "--output", out]
    assert embed.main([str(argument) for argument in arguments]) == 0
    assert run(out, "--row", 0) == 2
    assert "one.npz holds no image but the query." in capsys.readouterr().err


def test_parts_are_searched_from_within_their_folder(
    digits_export, digits, tmp_path, monkeypatch, capsys
):
    np.save(tmp_path / "a.npy", digits.test.images[:9])
    parts = tmp_path / "parts"
    for shard in ("0/2", "1/2"):
        arguments = [digits_export, tmp_path / "a.npy", "--output", parts, "--shard", shard]
        assert embed.main([str(argument) for argument in arguments]) == 0
    monkeypatch.chdir(parts)
    assert run(".", "--row", 1, "--top", 1) == 0
    assert (tmp_path / "parts-nearest.png").is_file()


def test_wrong_input_is_refused_in_one_line(embedded, digits_export, tmp_path, capsys):
    import json
    import shutil

    other = tmp_path / "other"
    shutil.copytree(digits_export, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["files"]["encoder.onnx"]["sha256"] = "0" * 64
    (other / "manifest.json").write_text(json.dumps(manifest))
    file, query = embedded / "digits.npz", embedded / "digits" / "07.png"
    shutil.copy(query, tmp_path / "new.png")
    left = shutil.copytree(digits_export, tmp_path / "left")
    moved = tmp_path / "moved.npz"
    assert embed.main([str(left), str(embedded / "digits"), "--output", str(moved)]) == 0
    shutil.rmtree(left)
    capsys.readouterr()
    (tmp_path / "broken.png").write_bytes(b"no")
    for arguments, message in (
        ((tmp_path / "no.npz", query), "is not a file of embeddings"),
        ((tmp_path / "new.png", query), "is not a file of embeddings"),
        ((file, "nowhere.png"), "nowhere.png is no image file, and none of"),
        ((file, tmp_path / "broken.png"), "cannot be read: UnidentifiedImageError"),
        ((file, tmp_path / "new.png", "--export", tmp_path), "is not an export"),
        ((moved, tmp_path / "new.png"), "is no longer there: name it with --export"),
        ((file, tmp_path / "new.png", "--export", other), "is another encoder than that of"),
        ((file, "--row", 81), "--row should be in [0, 80]. Received: 81"),
        ((file, "--cluster", 77), "No image is in cluster 77: there are clusters"),
        ((file, "--cluster", 1, "--clusters", tmp_path), "holds no clusters.csv"),
        ((file, query, "--top", 0), "--top should be at least 1. Received: 0"),
        ((file, query, "--sheet", tmp_path / "sheet.jpg"), "--sheet should end in .png"),
        ((file, query, "--sheet", tmp_path / "no" / "a.png"), "could not be written"),
    ):
        assert run(*arguments) == 2
        printed = capsys.readouterr().err.strip().splitlines()
        assert len(printed) == 1 and message in printed[0], printed
    names = ["broken.png", "moved.npz", "new.png", "other"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
