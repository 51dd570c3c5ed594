"""Shards embedded by the workers of a Ray cluster on this machine, one of which is killed."""

import importlib.util
import os
import signal
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from cueco_tf.embedding import ray_engine
from cueco_tf.embedding.embeddings_file import read_file
from cueco_tf.embedding.ray_engine import RayError, default_shards
from pipelines import embed

HAS_RAY = all(importlib.util.find_spec(name) for name in ("ray", "pandas", "pyarrow"))


def run(*arguments):
    return embed.main([str(argument) for argument in arguments])


def workers_of_ray():
    """The process ids of the actors that embed."""
    found = set()
    for process in Path("/proc").iterdir():
        try:
            title = (process / "cmdline").read_bytes() if process.name.isdecimal() else b""
        except OSError:  # has ended
            continue
        found |= {int(process.name)} if title.startswith(b"ray::Map") else set()
    return found


def test_an_address_where_nobody_listens_is_told_at_once(
    digits_export, tmp_path, monkeypatch, capsys
):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", "auto", ""):
            ray_engine._check_address(address)
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    out = tmp_path / "parts"
    assert run(digits_export, "digits", "--output", out, "--engine", "ray") == 2
    message = f"There is no Ray cluster at RAY_ADDRESS=127.0.0.1:{port}: "
    assert message in capsys.readouterr().err and not out.exists()


@pytest.mark.slow
@pytest.mark.skipif(not HAS_RAY, reason="Ray Data is not installed: pip install cueco-tf[ray]")
@pytest.mark.skipif(sys.platform != "linux", reason="finds Ray's workers in /proc")
def test_a_killed_worker_is_started_again_and_all_rows_are_there_once(
    digits_export, digits, tmp_path, monkeypatch, capsys
):
    from cueco_tf.embedding.shards import Shard
    from cueco_tf.embedding.sources import open_source
    from cueco_tf.export.reading import read_export

    monkeypatch.chdir(tmp_path)
    images = np.concatenate([digits.train.images, digits.test.images] * 8)
    np.save("digits.npy", images)
    export = read_export(digits_export)
    source = open_source("digits.npy", export.image_size)
    before, done = workers_of_ray(), []
    with ray_engine.cluster():
        for shard, embedded in ray_engine.embed_shards(export, source, tmp_path / "parts", 24, 1):
            if not done:
                victims = workers_of_ray() - before
                os.kill(min(victims), signal.SIGKILL)
            done.append((shard, embedded.rows if embedded else 0))
        assert workers_of_ray() - before - victims, "nobody was started in the killed one's place"
        # Another source in the same folder: the worker's refusal is one line.
        other = ray_engine.embed_shards(export, source.cut(0, 99), tmp_path / "parts", 24, 1)
        with pytest.raises(RayError, match=r"Shard \d+/24: .* is there, with another list of im"):
            list(other)
        with pytest.raises(RayError, match="No machine of the Ray cluster has 9999 cores"):
            ray_engine.workers_for(24, 9999)
    assert sorted(shard for shard, _ in done) == [Shard(i, 24) for i in range(24)]
    assert run("--merge", "parts", "--output", "merged.npz") == 0
    assert run(digits_export, "digits.npy", "--output", "one.npz") == 0
    assert (tmp_path / "merged.npz").read_bytes() == (tmp_path / "one.npz").read_bytes()
    assert len(read_file("one.npz")[0]["paths"]) == len(images)


def test_shards_hold_a_hundred_thousand_images_and_are_sixteen_at_least():
    assert [default_shards(n) for n in (1, 5, 17, 1_600_000, 1_600_001)] == [1, 5, 16, 16, 17]


def test_what_cannot_be_is_refused_in_one_line(digits_export, tmp_path, monkeypatch, capsys):
    np.save(tmp_path / "a.npy", np.zeros((3, 16, 16, 3), np.uint8))
    job = digits_export, tmp_path / "a.npy", "--output", tmp_path / "parts"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else name)
    for arguments, message in (
        (("--engine", "ray"), "--engine ray needs Ray Data (ray missing): pip install"),
        (("--engine", "ray", "--shard", "0/2"), "leave --shard out"),
        (("--shards", 3), "--shards is for --engine ray"),
        (("--shards", 0), "--shards should be at least 1. Received: 0"),
        (("--engine", "ray", "--copy-to", tmp_path / "b"), "--copy-to is for whole sources"),
    ):
        assert run(*job, *arguments) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert message in line
    assert not (tmp_path / "parts").exists()
