"""Commands at work on one output at once: one writes it, the others are refused, nothing mixes."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cueco_tf import train
from cueco_tf.embedding.embeddings_file import read_file
from cueco_tf.embedding.part_file import PartError, PartFile
from cueco_tf.ownership import own
from pipelines import embed, endurance, evaluate, export, report, reproduce

ROOT = Path(__file__).resolve().parents[2]


def start(*arguments):
    command = [sys.executable, "-m", *map(str, arguments)]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen(command, cwd=ROOT, **pipes)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def many(tmp_path, digits):
    """Enough images for some seconds of work, and an unreadable one among the names of others."""
    images = np.tile(digits.train.images, (8, 1, 1, 1))
    np.save(tmp_path / "many.npy", images)
    return tmp_path / "many.npy", len(images)


def test_embeds_of_one_output_leave_every_row_once(digits_export, many, tmp_path):
    source, count = many
    out = tmp_path / "out.npz"
    processes = [start("pipelines.embed", digits_export, source, "--output", out) for _ in range(3)]
    ends = [(process, *process.communicate()) for process in processes]
    assert sorted(process.returncode for process, _, _ in ends) == [0, 2, 2]
    (winner,) = (process for process, _, _ in ends if process.returncode == 0)
    for process, _, err in ends:
        if process is not winner:
            last = err.strip().splitlines()[-1]
            in_use = f"error: {out} is in use: process {winner.pid} on "
            assert last.startswith((in_use, f"error: {out} exists")), err
    rows, _ = read_file(out)
    assert rows["paths"].tolist() == [f"{source}#{i}" for i in range(count)]
    assert len(rows["embeddings"]) == count and rows["embeddings"].any(axis=1).all()
    assert names(tmp_path) == ["many.npy", "out.npz"]


def test_embeds_of_two_outputs_do_not_copy_into_one_folder(digits_export, digits, tmp_path, capsys):
    np.save(tmp_path / "few.npy", digits.test.images[:3])
    arguments = [
        str(digits_export),
        str(tmp_path / "few.npy"),
        "--copy-to",
        str(tmp_path / "sorted"),
    ]
    with own(tmp_path / "sorted"):
        assert embed.main([*arguments, "--output", str(tmp_path / "out.npz")]) == 2
        assert f"sorted is in use: process {os.getpid()} on" in capsys.readouterr().err
        assert names(tmp_path) == [".sorted.lock", "few.npy"]
    assert embed.main([*arguments, "--output", str(tmp_path / "out.npz")]) == 0
    assert len(list((tmp_path / "sorted").rglob("*.png"))) == 3


def add(part, done, numbers):
    rows = np.ones(len(numbers), part.dtype)
    rows["index"] = numbers
    part.append(done, rows, [])


def test_a_second_part_file_is_refused_and_the_first_keeps_its_rows(tmp_path):
    first = PartFile(tmp_path / "o.npz", 2, "job")
    add(first, 2, [0, 1])
    first.flush()
    with pytest.raises(ValueError, match=r"o\.npz is in use"):
        PartFile(tmp_path / "o.npz", 2, "another job")
    add(first, 4, [2, 3])
    first.flush()
    first.close()
    second = PartFile(tmp_path / "o.npz", 2, "job")
    assert second.done == 4
    assert np.concatenate([block["index"] for block in second.blocks()]).tolist() == [0, 1, 2, 3]
    second.check(4)
    second.remove()
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "blocks, total",
    [
        ([[0, 1], [1, 2]], 4),  # twice
        ([[0, 1], [3]], 4),  # one is missing
        ([[2, 3], [0, 1]], 4),
        ([[0, 1], [2, 4]], 4),  # beyond the last
        ([[0, 1, 2]], 4),
    ],
)
def test_rows_that_are_missing_or_double_are_noticed_at_the_end(tmp_path, blocks, total):
    part = PartFile(tmp_path / "o.npz", 2, "job")
    for kept in blocks:
        add(part, total, kept)
    part.flush()
    with pytest.raises(PartError):
        part.check(total)
    part.close()


def test_doubled_rows_are_never_written_as_embeddings(digits_export, digits, tmp_path, capsys):
    np.save(tmp_path / "few.npy", digits.test.images[:4])
    arguments = [str(digits_export), str(tmp_path / "few.npy"), "--output", str(tmp_path / "o.npz")]
    append = PartFile.append

    def twice(*arguments):
        for _ in range(2):
            append(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PartFile, "append", twice)
        assert embed.main(arguments) == 2
    assert "some are there twice" in capsys.readouterr().err.splitlines()[-1]
    assert names(tmp_path) == ["few.npy"]
    assert embed.main(arguments) == 0


@pytest.fixture
def run(digits_run, tmp_path):
    """A finished run of one's own."""
    return shutil.copytree(digits_run, tmp_path / "run")


def grid(folder):
    path = folder / "grid.json"
    path.write_text(json.dumps({"common": {"dataset": "digits"}, "variants": [{}], "seeds": [0]}))
    return path


def test_whatever_is_under_construction_has_an_owner(run, tmp_path, capsys):
    """Each command, with what it makes owned by somebody else: refused before any work."""
    features = tmp_path / "features.npz"
    with open(features, "wb") as file:
        x, y = np.eye(4, dtype=np.float32), np.arange(4) % 2
        np.savez(file, train_x=x, train_y=y, test_x=x, test_y=y)
    new = tmp_path / "new"
    cases = [
        (export, [run, "--output", new], new, False),
        (report, [run], run / "report", False),
        (evaluate, [run], run / "evaluation.json", False),
        (evaluate, ["--embeddings", features, "--output", new], new, False),
        (endurance, ["soak", "--folder", new, "--steps", 1], new, False),
        (reproduce, ["study", grid(tmp_path), "--output", new], new / "grid", False),
        (
            reproduce,
            ["table3", "--scale", "smoke", "--output", new],
            new / "table3-smoke",
            False,
        ),
        (train, ["--dataset", "digits", "--run-dir", new], new, True),
    ]
    for module, arguments, path, inside in cases:
        with own(path, inside=inside):
            before = sorted(tmp_path.rglob("*"))
            code = module.main([str(argument) for argument in arguments])
            captured = capsys.readouterr()
            assert code == 2, (module, captured)
            lines = captured.err.splitlines()
            assert len(lines) == 1, lines
            assert lines[0].startswith(f"error: {path} is in use: process {os.getpid()} on ")
            assert sorted(tmp_path.rglob("*")) == before
        assert not new.exists()


def test_a_report_and_a_score_under_way_survive_who_resumes_the_run(run):
    """The owner of a run takes away what it left itself, not what others are writing there."""
    from cueco_tf.running.run_folder import RunFolder

    others = [run / ".partial-0123abcd-evaluation.json", run / ".partial-0123abcd-rows.npz"]
    left = [run / ".partial-0123abcd-metrics.csv", run / "checkpoints" / ".partial-0123abcd-x.npz"]
    for path in others + left:
        path.touch()
    (run / ".report-partial-0123abcd").mkdir()
    RunFolder(run).mend()
    assert all(path.exists() for path in others) and not any(path.exists() for path in left)
    assert (run / ".report-partial-0123abcd").is_dir()


def test_skipped_images_count_once(digits_export, digits, tmp_path):
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    for i, image in enumerate(digits.test.images[:5]):
        Image.fromarray(image).save(folder / f"{i}.png")
    (folder / "2.png").write_bytes(b"broken")
    out = tmp_path / "o.npz"
    assert embed.main([str(digits_export), str(folder), "--output", str(out)]) == 3
    paths = read_file(out)[0]["paths"]
    assert [Path(path).name for path in paths] == ["0.png", "1.png", "3.png", "4.png"]
    with open(tmp_path / "o.npz.skipped.csv") as file:
        assert [Path(row["path"]).name for row in csv.DictReader(file)] == ["2.png"]
