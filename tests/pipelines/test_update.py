"""A file of embeddings brought up to date: what has not changed is taken from it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cueco_tf.embedding import work
from cueco_tf.embedding.embeddings_file import read_file
from cueco_tf.embedding.sources import open_source
from cueco_tf.embedding.tables import open_table, row_dtype
from cueco_tf.export.reading import read_export
from pipelines import embed

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments):
    """Embeds in this process; the exit code."""
    return embed.main([str(argument) for argument in arguments])


@pytest.fixture
def pictures(tmp_path, digits):
    """A folder of 80 digits, of which one cannot be read."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, image in enumerate(digits.test.images[:80]):
        Image.fromarray(image).save(folder / f"{i:02d}.png")
    (folder / "05.png").write_bytes(b"broken")
    return folder


def live(folder, digits):
    """What happens to a folder: pictures come, go, change, break, are mended, and are touched."""
    for name, image in (("05", 5), ("10", 110), ("205", 205), ("zz", 206)):
        Image.fromarray(digits.test.images[image]).save(folder / f"{name}.png")
    for name in ("00", "41", "79"):
        (folder / f"{name}.png").unlink()
    (folder / "60.png").write_bytes(b"")
    os.utime(folder / "70.png", ns=(1, 1))
    kept = folder / "71.png"
    state = kept.stat()
    kept.write_bytes(kept.read_bytes())
    os.utime(kept, ns=(state.st_atime_ns, state.st_mtime_ns))


class Counting:
    """An encoder that counts the images that it is given."""

    def __init__(self, encoder):
        self._encoder, self.batch_size, self.images = encoder, encoder.batch_size, 0

    def __call__(self, images):
        self.images += len(images)
        return self._encoder(images)


@pytest.mark.parametrize("by_hash", [False, True])
@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_an_update_is_the_file_made_anew(
    digits_export, pictures, digits, tmp_path, suffix, by_hash
):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    export = read_export(digits_export)
    encoder, out = Counting(export.encoder()), tmp_path / f"out.{suffix}"

    def source():
        return open_source(str(pictures), export.image_size, export.crop)

    assert work.embed(export, encoder, source(), out) == (79, 1, 0, 0)
    live(pictures, digits)
    encoder.images = 0
    changed = 4 if by_hash else 5  # the touched one has its old content
    update = dict(update=out, by_hash=by_hash)
    done = work.embed(export, encoder, source(), out, threads=1, **update)
    assert done == (78, 1, 78 - changed, 3)
    assert encoder.images == changed
    anew = tmp_path / f"anew.{suffix}"
    assert work.embed(export, encoder, source(), anew) == (78, 1, 0, 0)
    assert out.read_bytes() == anew.read_bytes()
    skipped = (tmp_path / f"{name}.{suffix}.skipped.csv" for name in ("out", "anew"))
    assert len({path.read_text() for path in skipped}) == 1
    encoder.images = 0
    assert work.embed(export, encoder, source(), out, **update) == (78, 1, 78, 0)
    assert encoder.images == 0 and out.read_bytes() == anew.read_bytes()


def test_a_folder_that_grows_by_more_than_a_block_is_brought_up_to_date(
    digits_export, pictures, digits, tmp_path, capsys
):
    out, anew = tmp_path / "out.npz", tmp_path / "anew.npz"
    assert run(digits_export, pictures, "--output", out) == 3
    for i, image in enumerate(digits.test.images[80:180]):
        Image.fromarray(image).save(pictures / f"x{i:02d}.png")
    assert run(digits_export, pictures, "--update", out) == 3
    assert "179 embeddings, 79 of them unchanged" in capsys.readouterr().out
    assert run(digits_export, pictures, "--output", anew) == 3
    assert out.read_bytes() == anew.read_bytes()


def test_only_the_content_tells_what_kept_its_size_and_time(
    digits_export, pictures, digits, tmp_path, capsys
):
    out, path = tmp_path / "out.npz", pictures / "33.png"
    Image.fromarray(digits.test.images[33]).save(path, compress_level=0)
    os.utime(path, ns=(5, 5))
    assert run(digits_export, pictures, "--output", out) == 3
    before = read_file(out)[0]["embeddings"]
    Image.fromarray(digits.test.images[133]).save(path, compress_level=0)
    os.utime(path, ns=(5, 5))
    assert run(digits_export, pictures, "--update", out) == 3
    assert "79 embeddings, 79 of them unchanged; 0 gone" in capsys.readouterr().out
    np.testing.assert_array_equal(read_file(out)[0]["embeddings"], before)
    assert run(digits_export, pictures, "--update", out, "--by-hash") == 3
    assert "79 embeddings, 78 of them unchanged; 0 gone" in capsys.readouterr().out
    assert (read_file(out)[0]["embeddings"] != before).any(axis=1).nonzero()[0].tolist() == [32]


def test_what_changes_while_it_is_read_is_noticed_by_the_next_update(
    digits_export, pictures, digits, tmp_path
):
    export, out = read_export(digits_export), tmp_path / "out.npz"
    source = open_source(str(pictures), export.image_size, export.crop)
    load = source.load

    def load_and_change(numbers):
        loaded = load(numbers)
        if 20 in numbers:
            Image.fromarray(digits.test.images[120]).save(pictures / "20.png")
        return loaded

    source.load = load_and_change
    assert work.embed(export, export.encoder(), source, out).rows == 79
    source.load = load
    assert work.embed(export, export.encoder(), source, out, update=out).unchanged == 78


def test_the_images_of_an_array_are_told_by_their_pixels(digits_export, digits, tmp_path, capsys):
    array, out = tmp_path / "array.npy", tmp_path / "out.npz"
    np.save(array, digits.test.images[:40])
    assert run(digits_export, array, "--output", out) == 0
    changed = digits.test.images[:50].copy()
    changed[7] = changed[8]
    np.save(array, changed)
    for by_hash, unchanged in ((["--by-hash"], 39), ([], 0)):
        again = tmp_path / f"{unchanged}.npz"
        shutil.copy(out, again)
        assert run(digits_export, array, "--update", again, *by_hash) == 0
        assert f"50 embeddings, {unchanged} of them unchanged" in capsys.readouterr().out
    assert (tmp_path / "39.npz").read_bytes() == (tmp_path / "0.npz").read_bytes()


def test_parts_are_brought_up_to_date_into_another_folder(
    digits_export, pictures, digits, tmp_path, capsys
):
    pytest.importorskip("pyarrow")
    for i in range(3):
        shard = ("--shard", f"{i}/3", "--output", tmp_path / "old")
        assert run(digits_export, pictures, *shard) == 0
    live(pictures, digits)
    capsys.readouterr()
    last = tmp_path / "old" / "part-00002-of-00003.parquet"
    content = last.read_bytes()
    for i in (1, 0):
        shard = ("--shard", f"{i}/2", "--output", tmp_path / "new", "--update", tmp_path / "old")
        assert run(digits_export, pictures, *shard) == 0
        # Of this part the first half of the images needs nothing: of its rows only paths are read.
        last.write_bytes(content[:3000] + b"\x01" + content[3001:])
    told = re.findall(r"(\d+) of them unchanged", capsys.readouterr().out)
    assert sum(map(int, told)) == 73
    one = ("--update", tmp_path / "old", "--output", tmp_path / "one.npz")
    assert run(digits_export, pictures, *one) == 2
    assert f"{last} cannot be read as embeddings" in capsys.readouterr().err
    last.write_bytes(content)
    assert run("--merge", tmp_path / "new", "--output", tmp_path / "merged.npz") == 3
    assert run(digits_export, pictures, *one) == 3
    assert run(digits_export, pictures, "--output", tmp_path / "anew.npz") == 3
    contents = {(tmp_path / f"{name}.npz").read_bytes() for name in ("merged", "one", "anew")}
    assert len(contents) == 1


def test_a_killed_update_leaves_the_file_and_goes_on(digits_export, pictures, tmp_path):
    out, listed = tmp_path / "out.npz", tmp_path / "list.txt"
    paths = [str(path) for path in sorted(pictures.glob("[2-4]*"))]
    listed.write_text("\n".join(paths))
    assert run(digits_export, listed, "--output", out) == 0
    before = out.read_bytes()
    for path in paths[::2]:
        os.utime(path, ns=(7, 7))
    listed.write_text("\n".join(paths * 600))
    command = [sys.executable, "-m", "pipelines.embed", digits_export, listed, "--update", out]
    process = subprocess.Popen([*command, "--threads", "1"], cwd=ROOT, stderr=subprocess.PIPE)
    note = tmp_path / ".out.npz.part" / "progress.json"
    while not note.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and out.read_bytes() == before
    assert 0 < json.loads(note.read_text())["done"] < len(paths) * 600
    assert run(digits_export, listed, "--update", out) == 0
    assert run(digits_export, listed, "--output", tmp_path / "anew.npz") == 0
    assert out.read_bytes() == (tmp_path / "anew.npz").read_bytes()
    assert not note.parent.exists()


def test_updates_are_refused_in_one_line(digits_export, pictures, tmp_path, capsys):
    out, both = tmp_path / "out.npz", (digits_export, pictures)
    assert run(*both, "--output", out) == 3
    before = out.read_bytes()
    earlier, cut, other, text = (tmp_path / f"{name}.npz" for name in ("earlier", "cut", "b", "t"))
    np.savez(earlier, **read_file(out)[0] | {"paths": np.array(["a"] * 79)})
    shutil.copy(out, other)
    with zipfile.ZipFile(other, "a") as archive:
        archive.comment = archive.comment.replace(b'"sha256": "', b'"sha256": "0')
    cut.write_bytes(before[:-1000])
    text.write_text("no archive")
    damaged = bytearray(before)
    damaged[12_000:12_100] = bytes(100)
    (tmp_path / "d.npz").write_bytes(damaged)
    files = sorted(tmp_path.iterdir())
    capsys.readouterr()
    for arguments, message in (
        ((*both, "--update", tmp_path / "no.npz"), "There is no .*no.npz to update. Leave"),
        (
            (*both, "--update", earlier),
            "earlier.npz cannot .* of an earlier version.* Embed anew once",
        ),
        ((*both, "--update", cut), "cut.npz cannot be read as embeddings"),
        ((*both, "--update", text), "t.npz cannot be read as embeddings: File is not a zip"),
        ((*both, "--update", tmp_path / "d.npz"), "d.npz cannot be read as embeddings: Bad CRC"),
        ((*both, "--update", other), r"b.npz was made with another export \(sha256 0"),
        ((*both, "--update", out, "--max-megapixels", 9), "with another reading of images"),
        ((*both, "--update", tmp_path), "There are no parts in"),
        ((*both, "--update", out, "--output", text), "t.npz exists. Choose another"),
        ((*both, "--by-hash", "--output", out), "--by-hash is for --update"),
        ((*both, "--update", out, "--shard", "0/2"), "--output is needed"),
        (("--merge", tmp_path, "--update", out), "leave --update out"),
    ):
        assert run(*arguments) == 2, arguments
        printed = [line for line in capsys.readouterr().err.split("\n") if line.strip()]
        assert len(printed) == 1 and re.search(message, printed[0]), printed
        assert sorted(tmp_path.iterdir()) == files and out.read_bytes() == before
    assert run(*both, "--update", out) == 3


def test_a_table_gives_what_was_written_a_few_rows_at_a_time(
    digits_export, digits, tmp_path, monkeypatch
):
    pytest.importorskip("pyarrow")
    listed, paths = tmp_path / "list.txt", []
    for i, image in enumerate(digits.test.images[:50]):
        paths.append(f"{tmp_path}/{'long' * (i % 7)}ä{i}.png")
        Image.fromarray(image).save(paths[-1])
    listed.write_text("\n".join(paths))
    tables = []
    for name in ("out.npz", "out.parquet"):
        assert run(digits_export, listed, "--output", tmp_path / name) == 0
        tables.append(open_table(tmp_path / name))
    # No power of two, to cut in the middle of paths and of row groups.
    monkeypatch.setattr("cueco_tf.embedding.tables.AT_ONCE", 7)
    monkeypatch.setattr("cueco_tf.embedding.tables._TEXT_AT_ONCE", 11)
    columns = ["paths", *row_dtype(1).names]
    for table in tables:
        blocks = list(table.blocks(columns))
        assert table.rows == 50 and {len(block["paths"]) for block in blocks} == {7, 1}
        assert [path for block in blocks for path in block["paths"]] == paths
        for name, column in read_file(tmp_path / "out.npz")[0].items():
            assert np.concatenate([block[name] for block in blocks]).tolist() == column.tolist()
    states = np.concatenate([block["sizes"] for block in blocks])
    assert states.tolist() == [Path(path).stat().st_size for path in paths]
