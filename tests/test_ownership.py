"""One process at a time works on a path, and whoever is refused is told which one does."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from cueco_tf import storage
from cueco_tf.ownership import InUseError, check_free, own

OWNER = """
import sys, time
from cueco_tf.ownership import own
with own(sys.argv[1]) as owner:
    print("owned", flush=True)
    for line in sys.stdin:
        if line == "leave\\n":
            owner.leave()
            print("leaving", flush=True)
        else:
            break
"""


@pytest.fixture
def another(tmp_path):
    """A process that owns `tmp_path/new/thing`, and the path."""
    path = tmp_path / "new" / "thing"
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process = subprocess.Popen([sys.executable, "-c", OWNER, path], **pipes)
    assert process.stdout.readline() == "owned\n"
    yield process, path
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_with_the_name_of_the_first(another):
    process, path = another
    for attempt in (lambda: own(path).__enter__(), lambda: check_free(path)):
        with pytest.raises(InUseError) as caught:
            attempt()
        text = str(caught.value)
        assert text.startswith(f"{path} is in use: process {process.pid} on {socket.gethostname()}")
        assert len(text.splitlines()) == 1
    check_free(path.with_name("other"))
    with own(path.with_name("other")):
        pass


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_dies_with_its_process(another, end):
    process, path = another
    process.send_signal(end)
    assert process.wait() == -end
    check_free(path)
    with own(path):
        pass
    assert list(path.parent.iterdir()) == []


def test_what_was_made_for_the_lock_alone_is_taken_away(another):
    process, path = another
    process.communicate("end\n")
    assert process.returncode == 0 and not path.parent.exists()
    check_free(path)
    assert not path.parent.exists()
    with own(path):
        path.write_text("made")
    assert [each.name for each in path.parent.iterdir()] == ["thing"]


def test_who_takes_over_waits_for_one_that_leaves(another, capsys):
    process, path = another
    with pytest.raises(InUseError), own(path, waits_for=lambda holder: holder.leaving):
        pass
    process.stdin.write("leave\n")
    process.stdin.flush()
    assert process.stdout.readline() == "leaving\n"
    threading.Timer(0.5, process.kill).start()
    with own(path, waits_for=lambda holder: holder.leaving):
        assert process.wait() == -signal.SIGKILL
    told = capsys.readouterr().err.splitlines()
    assert told == [
        f"Waiting for process {process.pid} on {socket.gethostname()}, which works on {path} ..."
    ]


def test_another_part_of_the_same_process_is_refused_too(tmp_path):
    with own(tmp_path, inside=True):
        with pytest.raises(InUseError, match=f"process {os.getpid()} on"):
            own(tmp_path, inside=True).__enter__()
        assert [each.name for each in tmp_path.iterdir()] == [".lock"]
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_locks_has_the_file_in_their_place(tmp_path, monkeypatch):
    def flock(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with own(tmp_path / "thing") as owner:
        owner.leave()
        with pytest.raises(InUseError, match=f"process {os.getpid()} on"):
            own(tmp_path / "thing").__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_made_is_the_systems_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        own(tmp_path / "file" / "thing").__enter__()
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_writers_at_once_share_no_temporary_name(tmp_path):
    target, inside, seen = tmp_path / "file.txt", threading.Barrier(2, timeout=60), []

    def write(text):
        def to(path):
            seen.append(path)
            path.write_text(text)
            inside.wait()  # both have written, neither has moved its file

        storage.write_atomically(target, to)

    threads = [threading.Thread(target=write, args=(text,)) for text in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_text() in ("one", "two") and len(set(seen)) == 2
    assert {path.suffix for path in seen} == {".txt"}
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_only_what_is_left_of_a_path_is_taken_away(tmp_path):
    left = [".partial-config.json", ".partial-0123abcd-config.json"]
    others = [".partial-0123abcd-my-config.json", ".partial-0123abcd-config.jsonl", "config.json"]
    for name in left + others:
        (tmp_path / name).touch()
    storage.remove_partials(tmp_path / "config.json")
    assert {path.name for path in tmp_path.iterdir()} == set(others)


@pytest.mark.parametrize("standing", [True, False])
def test_a_folder_whose_replacement_was_killed_stands(tmp_path, standing):
    """Between two renames the old folder has another name; then it is the only one."""
    (tmp_path / ".out-partial-0123abcd").mkdir()
    (tmp_path / ".out-former-0123abcd").mkdir()
    (tmp_path / ".out-former-0123abcd" / "old").touch()
    if standing:
        (tmp_path / "out").mkdir()
    with pytest.raises(RuntimeError), storage.new_folder(tmp_path / "out"):
        assert (tmp_path / "out" / "old").exists() is not standing
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ([] if standing else ["old"])
