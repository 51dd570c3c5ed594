"""Embedding that is killed, stopped or runs out of room, and how little it needs of memory."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import module
from embed_inputs import ROOT, names, read, run
from PIL import Image

from cueco_tf import storage
from cueco_tf.data.scan import find
from cueco_tf.embedding.embeddings_file import read_file


@pytest.fixture
def long_array(tmp_path, digits):
    """Enough images for some seconds of work."""
    np.save(tmp_path / "long.npy", np.tile(digits.train.images, (16, 1, 1, 1)))
    return tmp_path / "long.npy"


def start_and_kill(command, note, number):
    """Starts a command and sends a signal once some of its work is noted; what is noted then."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not note.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    process.communicate()
    return process.returncode, json.loads(note.read_text())["done"]


def test_a_failed_replacement_leaves_the_old_output_and_its_list(
    digits_export, few, tmp_path, monkeypatch
):
    (tmp_path / "few" / "d1" / "a.png").write_bytes(b"broken")
    out = tmp_path / "out.npz"
    assert run(digits_export, few, "--output", out) == 3
    before = {path: path.read_bytes() for path in tmp_path.glob("out*")}

    def full(*arguments):
        raise OSError(28, "No space left on device")

    (tmp_path / "few" / "d2" / "a.png").write_bytes(b"broken")
    with monkeypatch.context() as patch:
        patch.setattr("cueco_tf.embedding.work.write_file", full)
        assert run(digits_export, few, "--output", out, "--overwrite") == 2
    assert len(before) == 2
    assert {path: path.read_bytes() for path in tmp_path.glob("*out*")} == before


def test_a_killed_process_goes_on_to_the_same_bytes(digits_export, photos, tmp_path):
    folder, readable, broken = photos
    found = list(find(folder).paths)
    (tmp_path / "list.txt").write_text("\n".join(found * 400))
    total, out = 400 * len(found), tmp_path / "killed.npz"
    arguments = [digits_export, tmp_path / "list.txt", "--output", out]
    note = tmp_path / ".killed.npz.part" / "progress.json"
    command = [sys.executable, "-m", "pipelines.embed", *arguments]
    code, first = start_and_kill(command, note, signal.SIGKILL)
    assert code == -signal.SIGKILL and not out.exists()
    assert 0 < first < total
    # Rows and names that were written but not noted are dropped, not doubled.
    for name in ("rows", "skipped"):
        with open(note.with_name(name), "ab") as file:
            file.write(b"half a line")
    done = module("pipelines.embed", *arguments)
    assert done.returncode == 3, done.stderr
    assert f"Going on after {first:,} of {total:,} images" in done.stdout
    assert len(read(out)["paths"]) == 400 * len(readable)
    side_file = tmp_path / "killed.npz.skipped.csv"
    assert len(side_file.read_text().splitlines()) == 1 + 400 * len(broken)
    undisturbed = tmp_path / "undisturbed.npz"
    assert run(*arguments[:3], undisturbed) == 3
    assert out.read_bytes() == undisturbed.read_bytes()
    assert side_file.read_bytes() == (tmp_path / "undisturbed.npz.skipped.csv").read_bytes()
    assert not note.parent.exists()


def test_a_stopped_process_says_so_and_another_source_begins_anew(
    digits_export, long_array, array, tmp_path, capsys
):
    out = tmp_path / "out.npz"
    command = [sys.executable, "-m", "pipelines.embed", digits_export, long_array, "--output", out]
    note = tmp_path / ".out.npz.part" / "progress.json"
    code, first = start_and_kill(command, note, signal.SIGINT)
    assert code == 130 and first > 0 and not out.exists()
    assert run(digits_export, array, "--output", out) == 0
    assert "Going on" not in capsys.readouterr().out
    assert len(read(out)["paths"]) == 360


def test_rows_that_are_gone_are_made_again(tmp_path):
    from cueco_tf.embedding.part_file import PartFile

    def begin(job):
        part = PartFile(tmp_path / "out.npz", 2, job)
        part.close()
        return part.done

    part = PartFile(tmp_path / "out.npz", 2, "a")
    block = np.ones(3, part.dtype)
    block["index"] = 0, 1, 3
    part.append(4, block, [("b.png", "broken")])
    part.flush()
    part.close()
    assert begin("a") == 4
    rows = tmp_path / ".out.npz.part" / "rows"
    rows.write_bytes(rows.read_bytes()[:-1])
    assert begin("a") == 0
    part = PartFile(tmp_path / "out.npz", 2, "a")
    part.append(4, block, [])
    part.flush()
    part.close()
    assert begin("b") == 0  # another job
    for note in ("{}", "[]", '{"rows": null}'):
        (tmp_path / ".out.npz.part" / "progress.json").write_text(note)
        assert begin("b") == 0


@pytest.mark.parametrize("limit", [30_000, 120_000], ids=["rows", "result"])
def test_a_full_disk_leaves_nothing(digits_export, array, tmp_path, limit):
    script = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
from pipelines import embed
sys.exit(embed.main(sys.argv[1:]))
"""
    command = [sys.executable, "-c", script, digits_export, array, "--output", tmp_path / "out.npz"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"error: {tmp_path / 'out.npz'} was not written")
    assert names(tmp_path) == ["in"]


def test_a_disk_that_is_too_small_is_known_before_any_work(
    digits_export, array, tmp_path, monkeypatch, capsys
):
    import collections

    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: usage(100_000, 0, 100_000))
    assert run(digits_export, array, "--output", tmp_path / "out.npz") == 2
    assert "no space: this needs 0." in capsys.readouterr().err
    assert names(tmp_path) == ["in"]


@pytest.mark.slow
def test_memory_stays_bounded_at_200_000_rows(digits_export, digits, tmp_path):
    script = """
import resource, sys
from pipelines import embed
assert embed.main(sys.argv[1:]) == 0
assert "tensorflow" not in sys.modules
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
    peaks = []
    for count in (2_000, 200_000):
        path = tmp_path / f"{count}.npy"
        shape = (count, 16, 16, 3)
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        for begin in range(0, count, 1000):
            array[begin : begin + 1000] = digits.train.images[:1000]
        array.flush()
        out = tmp_path / f"{count}.npz"
        done = subprocess.run(
            [sys.executable, "-c", script, digits_export, path, "--output", out],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]))
    got = read(tmp_path / "200000.npz")
    assert len(got["paths"]) == len(np.unique(got["paths"])) == 200_000
    np.testing.assert_allclose(got["embeddings"][-1000:], got["embeddings"][:1000], atol=1e-4)
    # The images alone are 154 MB, their embeddings 102 MB.
    assert peaks[1] - peaks[0] < 60, peaks


def test_one_long_path_costs_its_own_length(digits_export, digits, tmp_path):
    deep = tmp_path.joinpath(*("x" * 200 for _ in range(5)), "0.png")
    deep.parent.mkdir(parents=True)
    plain = tmp_path / "0.png"
    for path in (plain, deep):
        Image.fromarray(digits.test.images[0]).save(path)
    sizes = {}
    for name, last in (("short", plain), ("long", deep)):
        listed = [str(plain)] * 100 + [str(last)]
        (tmp_path / f"{name}.txt").write_text("\n".join(listed))
        out = tmp_path / f"{name}.npz"
        assert run(digits_export, tmp_path / f"{name}.txt", "--output", out) == 0
        assert list(read_file(out)[0]["paths"]) == list(read(out)["paths"]) == listed
        sizes[name] = out.stat().st_size
    assert sizes["long"] - sizes["short"] == len(str(deep)) - len(str(plain))
