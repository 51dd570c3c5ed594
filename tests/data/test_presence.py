"""What can be told of a data set before it is loaded; and one process at a time unpacks it."""

import socket
import subprocess
import sys
import types

import pytest
from PIL import Image

from cueco_tf import data
from cueco_tf.data import presence, tfds

UNPACKER = """
import sys, time
from pathlib import Path
from PIL import Image
from cueco_tf.ownership import own
from cueco_tf.storage import new_folder

target = Path(sys.argv[1])
with own(target), new_folder(target) as folder:
    print("owned", flush=True)
    for i in range(3):
        time.sleep(0.2)
        Image.new("RGB", (70, 70), (i, i, i)).save(folder / f"{i:08d}-{i}.png")
"""


def test_a_second_process_waits_for_the_first_to_unpack_a_set(tmp_path, capsys):
    def as_dataset(**arguments):
        raise AssertionError("what another process unpacks is unpacked again")

    builder = types.SimpleNamespace(data_dir=tmp_path, name="set", as_dataset=as_dataset)
    target = tmp_path / "cueco_tf_files" / "train"
    command = [sys.executable, "-c", UNPACKER, target]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "owned\n"
        split = tfds.extract(builder, "train", ("a", "b", "c"), None, 64)
        assert f"Waiting for process {first.pid} on " in capsys.readouterr().err
    assert split.labels.tolist() == [0, 1, 2]
    assert [path.name for path in target.parent.iterdir()] == ["train"]


def test_what_cannot_be_there_is_refused_and_nothing_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(presence, "_can_reach", lambda hosts: False)
    refused = {
        ("cifar100", tmp_path / "new"): "no such folder",
        ("cifar100", tmp_path): "no network to download it: www.cs.toronto.edu",
        ("tfds:mnist:3.0.1", tmp_path): "no network to download it: storage.googleapis.com",
        ("imagenet100", tmp_path): "by hand",
        ("tfds:no_such_set", tmp_path): "knows none of the name",
        ("tfds:glue/nothing", tmp_path): "refuses tfds:glue/nothing",
    }
    for (name, folder), message in refused.items():
        for door in (presence.check_there, data.load):
            with pytest.raises(ValueError, match=message):
                door(name, folder)
        assert list(tmp_path.iterdir()) == []


def test_what_may_be_there_is_let_pass(tmp_path, monkeypatch):
    def unused(hosts):
        raise AssertionError("the network is not asked for what is there")

    monkeypatch.setattr(presence, "_can_reach", unused)
    (tmp_path / "cifar100" / "3.0.2").mkdir(parents=True)
    (tmp_path / "cifar100" / "3.0.2" / "dataset_info.json").touch()
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "archive").touch()  # what is downloaded needs no network
    Image.new("L", (8, 8)).save(tmp_path / "image.png")
    for name in (
        "cifar100",
        "cifar10",
        "digits",
        f"folder:{tmp_path}",
        "tfds:kaggle:any",
        "tfds:",
        "no",
    ):
        presence.check_there(name, tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    presence.check_there("cifar100")
    monkeypatch.setattr(presence, "_can_reach", lambda hosts: True)
    (tmp_path / "downloads" / "archive").unlink()
    presence.check_there("cifar10", tmp_path)


def test_a_host_is_reached_or_not(monkeypatch):
    """On this machine itself, through what a proxy would be."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("https_proxy", place)
        assert presence._can_reach({"any.invalid"})
    assert not presence._can_reach({"any.invalid"})
