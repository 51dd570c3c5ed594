"""What embedding copies beside its result: images into a folder a cluster."""

from pathlib import Path

import numpy as np
from embed_inputs import names, read, run
from PIL import Image

from cueco_tf.embedding import rows


def test_clusters_as_folders(digits_export, photos, array, tmp_path):
    folder, readable, _ = photos
    (folder / "deep" / "a-plain.jpg").write_bytes((folder / "a-plain.jpg").read_bytes())
    out, copies = tmp_path / "out.npz", tmp_path / "copies"
    assert run(digits_export, folder, "--output", out, "--copy-to", copies) == 3
    got = read(out)
    for path, cluster in zip(got["paths"], got["clusters"], strict=True):
        content = Path(path).read_bytes()
        assert content in [each.read_bytes() for each in (copies / str(cluster)).iterdir()]
    assert len(list(copies.rglob("*.*"))) == len(got["paths"]) == len(readable) + 1

    other = tmp_path / "other"
    arguments = (digits_export, array, "--output", tmp_path / "array.npz", "--copy-to", other)
    assert run(*arguments) == 0
    got = read(tmp_path / "array.npz")
    with Image.open(other / str(got["clusters"][5]) / "00000005.png") as image:
        np.testing.assert_array_equal(np.asarray(image), np.load(array)[5])
    assert len(list(other.rglob("*.png"))) == 360
    # What is there already is never touched.
    (tmp_path / "array.npz").unlink()
    assert run(*arguments, "--overwrite") == 2
    assert len(list(other.rglob("*.png"))) == 360 and not (tmp_path / "array.npz").exists()


def test_copies_never_replace_one_another(digits_export, few, tmp_path):
    out, copies = tmp_path / "out.npz", tmp_path / "copies"
    assert run(digits_export, few, "--output", out, "--copy-to", copies) == 0
    found = sorted(path.name for path in copies.rglob("*.png"))
    assert found == ["a-2-2.png", "a-2.png", "a.png"]


def test_a_failed_copy_keeps_the_embeddings(digits_export, few, tmp_path, monkeypatch, capsys):
    out, copies = tmp_path / "out.npz", tmp_path / "copies"
    arguments = (digits_export, few, "--output", out, "--copy-to", copies)
    assert run(*arguments[:5], tmp_path / "no" / "copies") == 2
    assert "There is no folder" in capsys.readouterr().err and names(tmp_path) == ["few"]

    def full(*paths):
        raise OSError(28, "No space left on device")

    def stopped(*paths):
        raise KeyboardInterrupt

    for place, failure, code, message in (
        (
            "cueco_tf.embedding.copies.shutil.copyfile",
            full,
            2,
            f"{copies} was not written: No space left",
        ),
        ("cueco_tf.embedding.copies.shutil.copyfile", stopped, 130, "stopped"),
        ("cueco_tf.embedding.work.write_file", stopped, 130, "stopped"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, failure)
            assert run(*arguments) == code
        assert message in capsys.readouterr().err.splitlines()[-1]
        assert names(tmp_path) == [".out.npz.part", "few"]
    assert run(*arguments) == 0
    assert "Going on after 3 of 3 images" in capsys.readouterr().out
    assert len(list(copies.rglob("*.png"))) == 3 and names(tmp_path) == ["copies", "few", "out.npz"]


def test_an_image_that_goes_away_before_it_is_copied(
    digits_export, few, tmp_path, monkeypatch, capsys
):
    embed_all = rows._embed

    def embed_and_lose(*arguments):
        embed_all(*arguments)
        (tmp_path / "few" / "d1" / "a.png").unlink()

    monkeypatch.setattr(rows, "_embed", embed_and_lose)
    out, copies = tmp_path / "out.npz", tmp_path / "copies"
    assert run(digits_export, few, "--output", out, "--copy-to", copies) == 2
    assert "a.png cannot be copied any more: FileNotFound" in capsys.readouterr().err
    assert not out.exists() and not copies.exists()
