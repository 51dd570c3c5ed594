import errno
import json
import warnings

import keras
import numpy as np
import pytest

from cueco_tf import CueCo, storage
from cueco_tf.running import checkpoints
from cueco_tf.running.checkpoints import CheckpointError, restore, save


def make(num_clusters=4):
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(x))
    encoder = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    model = CueCo(encoder, num_clusters, queue_size=16, hidden_dim=8, projection_dim=4)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    model.optimizer.build(model.trainable_variables)
    return model


def state(model):
    return [v.numpy() for v in (*model.weights, *model.optimizer.variables)]


@pytest.fixture
def folder(tmp_path):
    """A folder with checkpoints of steps 1 and 2, and the states they hold."""
    model, states = make(), {}
    rng = np.random.default_rng(0)
    for step in (1, 2):
        for variable in (*model.weights, *model.optimizer.variables):
            if variable.dtype == "float32":
                variable.assign(rng.normal(size=variable.shape))
        model.step.assign(step)
        save(tmp_path, model)
        states[step] = state(model)
    return tmp_path, states


def assert_restored(folder, expected):
    model = make()
    assert restore(folder, model) is not None
    for own, other in zip(state(model), expected, strict=True):
        np.testing.assert_array_equal(own, other)


def test_the_newest_comes_back_and_old_ones_are_removed(folder):
    path, states = folder
    assert_restored(path, states[2])
    model = make()
    for step in (3, 4):
        model.step.assign(step)
        save(path, model)
    assert [p.name for p in checkpoints.find(path)] == ["step-000000004.npz", "step-000000003.npz"]


def test_one_without_settled_clusters_is_read(folder):
    """Of format 2: all but the two last weights."""
    path, states = folder
    newest = checkpoints.find(path)[0]
    with np.load(newest) as file:
        arrays = {name: file[name] for name in file.files}
    last = sorted(name for name in arrays if name.startswith("weight/"))[-2:]
    arrays = {name: value for name, value in arrays.items() if name not in last}
    header = json.loads(bytes(arrays["header"])) | {"format_version": 2}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(newest, **arrays)
    model, count = make(), len(make().weights)
    assert restore(path, model) is not None
    assert int(model.settled.settled_at) == -1 and not model.settled.settled.numpy().any()
    own = [value for i, value in enumerate(state(model)) if i not in (count - 2, count - 1)]
    expected = [value for i, value in enumerate(states[2]) if i not in (count - 2, count - 1)]
    for value, other in zip(own, expected, strict=True):
        np.testing.assert_array_equal(value, other)
    del arrays["weight/0000"]
    np.savez(newest, **arrays)
    with pytest.raises(CheckpointError, match="of another model: 'weight/0000'"):
        restore(path, make())


def test_an_empty_folder_holds_nothing(tmp_path):
    assert restore(tmp_path, make()) is None


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.999])
def test_a_truncated_one_falls_back_to_the_one_before(folder, keep):
    path, states = folder
    newest = checkpoints.find(path)[0]
    data = newest.read_bytes()
    newest.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.warns(UserWarning, match=f"{newest.name} is damaged .* trying the one before"):
        assert_restored(path, states[1])


def test_flipped_bits_never_pass_unnoticed(folder):
    path, states = folder
    newest = checkpoints.find(path)[0]
    data = newest.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(data), 40):
        flipped = bytearray(data)
        flipped[place] ^= 1 << rng.integers(8)
        newest.write_bytes(flipped)
        model = make()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UserWarning)
            try:
                restore(path, model)
            except CheckpointError:
                continue  # a name inside was hit: refused in words
        # Else a byte that zip does not use, or does not check: the content must be right.
        damaged = any("is damaged" in str(each.message) for each in said)
        got, step = state(model), int(model.step.value)
        assert step == (1 if damaged else 2)
        for own, other in zip(got, states[step], strict=True):
            np.testing.assert_array_equal(own, other)


def test_when_all_are_damaged_it_says_so(folder):
    path, _ = folder
    for each in checkpoints.find(path):
        each.write_bytes(b"nothing")
    with pytest.warns(UserWarning), pytest.raises(CheckpointError, match="All checkpoints"):
        restore(path, make())


def test_another_format_or_another_model_is_refused(folder, monkeypatch):
    path, _ = folder
    with pytest.raises(CheckpointError, match=r"of another model: .* should have shape"):
        restore(path, make(num_clusters=5))
    monkeypatch.setattr(checkpoints, "FORMAT_VERSION", 4)
    with pytest.raises(CheckpointError, match="is of format 3"):
        restore(path, make())


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "step-000000001.npz", header=np.array([{"format_version": 1}], object))
    with pytest.warns(UserWarning), pytest.raises(CheckpointError, match="All checkpoints"):
        restore(tmp_path, make())


def test_a_reader_looks_again_when_training_has_replaced_what_it_found(folder, monkeypatch):
    path, states = folder
    find, first = checkpoints.find, iter([[path / "step-000000000.npz"]])
    monkeypatch.setattr(checkpoints, "find", lambda folder: next(first, None) or find(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_restored(path, states[2])


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")

    def fail(path):
        path.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: '.*/file'"):
        storage.write_atomically(target, fail)
    assert target.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]
    storage.write_atomically(target, lambda path: path.write_text("new"))
    assert target.read_text() == "new"


def test_a_state_that_is_not_finite_never_replaces_a_good_one(folder):
    path, states = folder
    model = make()
    model.step.assign(3)
    model.head.weights[0].assign(np.full(model.head.weights[0].shape, np.nan))
    with pytest.raises(FloatingPointError, match="At step 3 the state is no longer finite"):
        save(path, model)
    assert_restored(path, states[2])


def test_any_damaged_byte_is_met_without_a_traceback(tmp_path):
    header = np.frombuffer(b'{"format_version": 1}', np.uint8)
    path = tmp_path / "step-000000001.npz"
    np.savez(path, header=header, weight=np.arange(3.0))
    data = path.read_bytes()
    model = make()
    for place in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            with warnings.catch_warnings(), pytest.raises(CheckpointError):
                warnings.simplefilter("ignore")
                restore(tmp_path, model)


def test_a_folder_that_cannot_be_moved_is_reported_and_the_old_one_stands(tmp_path):
    for _ in range(2):  # without an old folder, and with one
        with (
            pytest.raises(FileNotFoundError) as caught,
            storage.new_folder(tmp_path / "out") as folder,
        ):
            folder.rmdir()
        assert caught.value.filename == str(folder)
        if (tmp_path / "out").exists():
            break
        with storage.new_folder(tmp_path / "out") as folder:
            (folder / "kept").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["kept"]


def test_a_saver_writes_the_state_of_the_moment_beside_what_goes_on(tmp_path):
    model, saver = make(), checkpoints.Saver(tmp_path)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if variable.dtype == "float32":
            variable.assign(rng.normal(size=variable.shape))
    model.step.assign(7)
    expected = state(model)
    saver.save(model)
    for variable in model.weights:  # training goes on while it writes
        variable.assign(variable * 0)
    saver.wait()
    assert [path.name for path in checkpoints.find(tmp_path)] == ["step-000000007.npz"]
    assert_restored(tmp_path, expected)


def test_a_saver_raises_what_stopped_it_and_leaves_the_checkpoint_before(tmp_path):
    model, saver = make(), checkpoints.Saver(tmp_path)
    model.step.assign(1)
    saver.save(model)
    model.step.assign(2)
    model.head.weights[0].assign(model.head.weights[0] * np.nan)
    saver.save(model)
    with pytest.raises(FloatingPointError, match="At step 2 the state is no longer finite"):
        saver.wait()
    saver.wait()  # it is told once
    assert [path.name for path in checkpoints.find(tmp_path)] == ["step-000000001.npz"]
    gone = checkpoints.Saver(tmp_path / "no folder")
    gone.save(make())
    with pytest.raises(OSError, match="No such file"):
        gone.save(make())
