"""A source embedded by several processes, and the parts that they leave."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cueco_tf.embedding import work
from cueco_tf.embedding.embeddings_file import read_file, write_file
from cueco_tf.embedding.parts import Parts
from cueco_tf.embedding.shards import FORMAT, Shard, about
from cueco_tf.embedding.sources import open_source
from cueco_tf.embedding.tables import STATE_DTYPE
from cueco_tf.export.reading import read_export
from pipelines import embed

pytest.importorskip("pyarrow")
ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ["paths", "embeddings", "clusters", "similarities"]


def run(*arguments):
    """Embeds in this process; the exit code."""
    return embed.main([str(argument) for argument in arguments])


def start(*arguments):
    command = [sys.executable, "-m", "pipelines.embed", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def pictures(tmp_path, digits):
    """A folder of 90 digits, of which two cannot be read and one has a name that is no UTF-8."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, image in enumerate(digits.test.images[:90]):
        Image.fromarray(image).save(folder / f"{i:02d}.png")
    (folder / "05.png").write_bytes(b"broken")
    (folder / "89.png").write_bytes(b"")
    (folder / "40.png").rename(os.fsdecode(os.fsencode(folder / "40") + b"\xff.png"))
    return folder


@pytest.fixture
def parts(digits_export, pictures, tmp_path):
    """The folder of its four parts."""
    for i in (2, 0, 3, 1):
        arguments = (digits_export, pictures, "--shard", f"{i}/4", "--output", tmp_path / "parts")
        assert run(*arguments) == 0
    return tmp_path / "parts"


def test_merged_parts_are_the_file_of_one_process(digits_export, pictures, parts, tmp_path, capsys):
    assert names(parts) == [f"part-0000{i}-of-00004.parquet" for i in range(4)]
    for name in ("one.npz", "one.parquet"):
        assert run(digits_export, pictures, "--output", tmp_path / name) == 3
    for name in ("merged.npz", "merged.parquet"):
        assert run("--merge", parts, "--output", tmp_path / name) == 3
        assert "Skipped 2 of 90 images" in capsys.readouterr().err
    for suffix in ("npz", "npz.skipped.csv", "parquet.skipped.csv"):
        one, merged = (tmp_path / f"{name}.{suffix}" for name in ("one", "merged"))
        assert one.read_bytes() == merged.read_bytes()
    one, merged = (read_file(tmp_path / f"{name}.parquet") for name in ("one", "merged"))
    assert one[1] == merged[1]
    for name in COLUMNS:
        assert one[0][name].tolist() == merged[0][name].tolist()
    assert any("\udcff" in path for path in merged[0]["paths"])
    # Parts are files of embeddings as well, which other programs read.
    assert len(read_file(parts / names(parts)[0])[0]["paths"]) == 21


@pytest.mark.parametrize("kind", ["array", "list"])
def test_any_source_can_be_divided_by_any_number(digits_export, digits, tmp_path, kind):
    source = tmp_path / "source.npy"
    np.save(source, digits.test.images[:50])
    if kind == "list":
        for i, image in enumerate(digits.test.images[:5]):
            Image.fromarray(image).save(tmp_path / f"{i}.png")
        paths = [str(tmp_path / f"{i}.png") for i in (3, 0, 0, 4, 1)]
        source = tmp_path / "source.txt"
        source.write_text("\n".join(paths))
    export = read_export(digits_export)
    encoder, images = export.encoder(), open_source(str(source), export.image_size)
    done = work.embed(export, encoder, images, tmp_path / "one.npz")
    assert done == work.Embedded(len(images), 0)
    for i in range(7):  # more than there are images in the list
        shard, folder = Shard(i, 7), tmp_path / "parts"
        first, last = shard.rows(len(images))
        again = [work.embed_shard(export, encoder, images, folder, shard) for _ in range(2)]
        assert again == [work.Embedded(last - first, 0), None]
    assert work.merge(tmp_path / "parts", tmp_path / "merged.npz") == done
    assert (tmp_path / "merged.npz").read_bytes() == (tmp_path / "one.npz").read_bytes()


@pytest.fixture
def much(pictures, tmp_path):
    """A list for some seconds of work."""
    (tmp_path / "list.txt").write_text(
        "\n".join(map(str, sorted(pictures.glob("[6-8]*"))[:29] * 800))
    )
    return tmp_path / "list.txt"


def test_killed_and_doubled_shards_do_no_harm(digits_export, much, tmp_path, capsys):
    parts = tmp_path / "parts"
    arguments = (digits_export, much, "--output", parts, "--shard")
    killed = start(*arguments, "0/2", "--threads", 1)
    note = parts / ".part-00000-of-00002.parquet.part" / "progress.json"
    while not note.exists():
        assert killed.poll() is None, killed.stderr.read()
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    first = json.loads(note.read_text())["done"]
    assert killed.returncode == -signal.SIGKILL and 0 < first < 29 * 400
    assert not list(parts.glob("*.parquet"))

    twins = [start(*arguments, "1/2") for _ in range(2)]
    errors = [twin.communicate()[1].decode() for twin in twins]
    ends = sorted(twin.returncode for twin in twins)
    assert ends in ([0, 0], [0, 2]), errors
    if 2 in ends:
        assert any("part-00001-of-00002.parquet is in use: process" in error for error in errors)
    out = tmp_path / "out.npz"
    assert run("--merge", parts, "--output", out) == 2
    assert "lacks 1 of 2 parts: 0. Make them" in capsys.readouterr().err and not out.exists()

    assert run(*arguments, "0/2") == 0
    assert f"Going on after {first:,} of {29 * 400:,} images" in capsys.readouterr().out
    assert run("--merge", parts, "--output", out) == 0
    assert run(digits_export, much, "--output", tmp_path / "one.npz") == 0
    assert out.read_bytes() == (tmp_path / "one.npz").read_bytes()
    assert names(parts) == ["part-00000-of-00002.parquet", "part-00001-of-00002.parquet"]


def test_a_part_that_is_there_is_left_alone(digits_export, pictures, parts, capsys):
    path = parts / "part-00001-of-00004.parquet"
    before = path.read_bytes(), path.stat().st_ino
    arguments = (digits_export, pictures, "--shard", "1/4", "--output", parts)
    assert run(*arguments) == 0
    assert f"{path} is there already" in capsys.readouterr().out
    assert (path.read_bytes(), path.stat().st_ino) == before
    assert run(*arguments, "--max-megapixels", 10) == 2
    assert f"{path} is there, with another range of pixels, limit" in capsys.readouterr().err
    assert (path.read_bytes(), path.stat().st_ino) == before
    path.write_bytes(before[0][:-100])
    assert run(*arguments) == 2
    assert "is no part that can be read" in capsys.readouterr().err
    assert run(*arguments, "--overwrite") == 0
    assert path.read_bytes() == before[0]


def test_parts_that_are_no_whole_are_named(digits_export, pictures, parts, tmp_path, capsys):
    first, second = (parts / f"part-0000{i}-of-00004.parquet" for i in range(2))
    whole = second.read_bytes()

    def other_list():
        (pictures / "41.png").unlink()
        shard = ("--shard", "1/4", "--output", parts, "--overwrite")
        assert run(digits_export, pictures, *shard) == 0

    def other_export():
        table, origin = Parts(parts), read_file(second)[1]
        said = {**table.whole, "sha256": "0" * 64}
        rows = read_file(second)[0]
        write_file(second, Made(rows), origin, about(Shard(1, 4), said, []))

    def fewer_rows():
        table, (rows, origin) = Parts(parts), read_file(second)
        rows = {name: column[1:] for name, column in rows.items()}
        write_file(second, Made(rows), origin, about(Shard(1, 4), table.whole, []))

    def no_part():
        rows, origin = read_file(second)
        write_file(second, Made(rows), origin)

    def more():
        (parts / "part-00003-of-00008.parquet").write_bytes(b"")

    for spoil, message in (
        (second.unlink, "lacks 1 of 4 parts: 1. Make them: python -m pipelines.embed EXPORT"),
        (
            lambda: second.write_bytes(whole[:-9]),
            f"{second} is no part that can be read .*1/4 --ov",
        ),
        (lambda: second.write_bytes(first.read_bytes()), "it is the part of shard 0/4"),
        (other_export, "1 of 4 parts in .* belong to another export: 1. Make them anew"),
        (fewer_rows, "22 rows and 0 skipped images of 23"),
        (no_part, "is no part that can be read"),
        (more, "holds parts of 4 and of 8: take away"),
        (other_list, "belong to another list of images, another number of images: 1. Make"),
    ):
        spoil()
        before = names(tmp_path)
        assert run("--merge", parts, "--output", tmp_path / "out.npz") == 2
        printed = capsys.readouterr().err.strip().splitlines()
        assert len(printed) == 1 or spoil is other_list, printed
        assert re.search(message, printed[-1]), printed
        assert names(tmp_path) == before
        second.write_bytes(whole)
        (parts / "part-00003-of-00008.parquet").unlink(missing_ok=True)
    assert run("--merge", parts, "--output", tmp_path / "out.npz") == 3


def test_a_part_that_is_damaged_inside_leaves_the_old_file(parts, tmp_path, capsys):
    out = tmp_path / "out.npz"
    out.write_text("mine")
    part = parts / "part-00002-of-00004.parquet"
    content = bytearray(part.read_bytes())
    content[3000] ^= 1
    part.write_bytes(content)
    assert run("--merge", parts, "--output", out, "--overwrite") == 2
    assert f"{part} is no part that can be read" in capsys.readouterr().err.splitlines()[-1]
    assert out.read_text() == "mine" and "out.npz.skipped.csv" not in names(tmp_path)


def test_not_one_readable_image_in_any_part(digits_export, tmp_path, capsys):
    (tmp_path / "list.txt").write_text("a.png\nb.png")
    for i in range(2):
        shard = ("--shard", f"{i}/2", "--output", tmp_path / "parts")
        assert run(digits_export, tmp_path / "list.txt", *shard) == 0
    assert run("--merge", tmp_path / "parts", "--output", tmp_path / "out.npz") == 2
    first = tmp_path / "a.png"
    assert f"Not one of 2 images could be read. The first: {first}" in capsys.readouterr().err
    assert names(tmp_path) == ["list.txt", "parts"]


def test_shards_are_refused_in_one_line(digits_export, pictures, tmp_path, capsys, monkeypatch):
    out, both = tmp_path / "parts", (digits_export, pictures)
    (tmp_path / "file").write_text("mine")
    before = names(tmp_path)
    for arguments, message in (
        ((*both, "--shard", "4/4", "--output", out), "should be I/N, with I from 0 to N - 1. Rec"),
        ((*both, "--shard", "one", "--output", out), "should be I/N.* Received: one"),
        ((*both, "--shard", "0/2", "--output", tmp_path / "file"), "should be a folder"),
        ((*both, "--shard", "0/2", "--output", out / "deep"), "There is no folder .*parts for --o"),
        ((*both, "--shard", "0/2", "--output", out, "--copy-to", "x"), "--copy-to is for whole"),
        (
            ("--merge", out, "--output", tmp_path / "o.npz"),
            "no parts in .*parts. Make them: python",
        ),
        ((*both, "--merge", out, "--output", tmp_path / "o.npz"), "leave EXPORT, SOURCE"),
        (("--merge", out, "--output", tmp_path / "o.csv"), "should end in .npz or .parquet"),
        ((digits_export, "--output", tmp_path / "o.npz"), "EXPORT and SOURCE are needed"),
        (("x", pictures, "--shard", "0/2", "--output", out), "x is not an export"),
    ):
        assert run(*arguments) == 2, arguments
        printed = capsys.readouterr().err.strip().splitlines()
        assert len(printed) == 1 and re.search(message, printed[0]), printed
        assert names(tmp_path) == before
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for arguments in ((*both, "--shard", "0/2"), ("--merge", out)):
        assert run(*arguments, "--output", out) == 2
        assert f"{arguments[-2]} needs pyarrow" in capsys.readouterr().err


class Made:
    """Rows that are held in memory, as a table to write."""

    def __init__(self, columns):
        self.rows, self.dim = columns["embeddings"].shape
        states = np.zeros(self.rows, STATE_DTYPE)
        self._columns = {**{name: states[name] for name in STATE_DTYPE.names}, **columns}

    def blocks(self, wanted):
        for start in range(0, self.rows, 8192):
            yield {name: self._columns[name][start : start + 8192] for name in wanted}


@pytest.mark.slow
def test_a_merge_holds_a_few_rows_at_a_time(tmp_path):
    peaks = []
    script = """
import sys
from pathlib import Path
from cueco_tf.embedding.work import merge
merge(*map(Path, sys.argv[1:]))
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""
    whole = {"format": FORMAT, "sha256": "0" * 64, "list": "", "reading": None}
    for count in (2_000, 400_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for i in range(2):
            rows = {
                "paths": [f"{i}-{row:07d}.jpg" for row in range(count // 2)],
                "embeddings": np.full((count // 2, 64), i, np.float32),
                "clusters": np.zeros(count // 2, np.int64),
                "similarities": np.ones(count // 2, np.float32),
            }
            said = about(Shard(i, 2), {**whole, "total": count}, [])
            write_file(Shard(i, 2).path(folder), Made(rows), {}, said)
        out = tmp_path / f"{count}.npz"
        done = subprocess.run(
            [sys.executable, "-c", script, folder, out], capture_output=True, text=True, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout) / 1024)
    got = read_file(out)[0]
    assert len(set(got["paths"])) == 400_000 and got["embeddings"][[0, -1], 0].tolist() == [0, 1]
    assert peaks[1] - peaks[0] < 60, peaks  # the embeddings alone are 102 MB
