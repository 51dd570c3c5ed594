import re
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import cueco_tf
from cueco_tf import data
from cueco_tf.data import image_files, tfds
from cueco_tf.data.augment import TwoViews
from cueco_tf.data.late import Late
from cueco_tf.data.splits import DataError


def test_digits_are_split_by_class(digits):
    assert (len(digits.train), len(digits.test), digits.num_classes) == (1437, 360, 10)
    assert np.bincount(digits.test.labels).min() >= 34
    assert digits.train.images.shape == (1437, 16, 16, 3)
    assert digits.train.images.dtype == np.uint8
    assert 200 < digits.train.images.max() <= 255 and digits.train.images.min() == 0
    assert data.load("digits").train.image_size == 8


def test_cifar100_is_the_real_one(cifar):
    assert (len(cifar.train), len(cifar.test), cifar.num_classes) == (50_000, 10_000, 100)
    assert cifar.train.images.shape[1:] == (32, 32, 3) and cifar.train.images.dtype == np.uint8
    np.testing.assert_array_equal(np.bincount(cifar.train.labels), 500)
    assert cifar.class_names[0] == "apple" and cifar.class_names[99] == "worm"
    # The published channel means.
    means = cifar.train.images.mean(axis=(0, 1, 2)) / 255
    np.testing.assert_allclose(means, (0.5071, 0.4865, 0.4409), atol=1e-3)


def test_the_data_folder_comes_from_the_argument_then_the_environment(
    cifar_dir, monkeypatch, tmp_path
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    images = data.load("tfds:cifar100", cifar_dir, image_size=16)
    assert images.train.images.shape == (50_000, 16, 16, 3) and images.num_classes == 100
    monkeypatch.setenv("TFDS_DATA_DIR", str(cifar_dir))
    assert len(data.load("cifar100", "").train) == 50_000
    monkeypatch.setenv("TFDS_DATA_DIR", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}/tensorflow_datasets")):
        data.load("tfds:no_such_set_at_all")


@pytest.mark.parametrize("name", ["cifar", "folder:", "tfds:", "digits:x"])
def test_unknown_names_are_refused(name):
    with pytest.raises(DataError, match=r"Unknown data set .* Choose one of: digits"):
        data.load(name)


def test_imagenet100_is_the_list_that_ships():
    classes = tfds.imagenet100_classes()
    assert len(set(classes)) == 100 and list(classes) == sorted(classes)
    assert all(len(c) == 9 and c.startswith("n") and c[1:].isdigit() for c in classes)


def picture(rng, width, height, mode="RGB"):
    noise = rng.integers(0, 256, (max(height // 8, 1), max(width // 8, 1), 3), np.uint8)
    return Image.fromarray(noise).resize((width, height)).convert(mode)


@pytest.fixture
def photos(tmp_path):
    """Images of many kinds at any depth, two of them broken, and things that are no images."""
    rng = np.random.default_rng(0)
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    picture(rng, 300, 200).save(tmp_path / "plain.jpg")
    picture(rng, 90, 400).save(deep / "tall.PNG")
    picture(rng, 120, 100, "L").save(deep / "gray.png")
    picture(rng, 120, 100, "P").save(deep / "palette.gif")
    picture(rng, 120, 100, "CMYK").save(deep / "cmyk.jpg")
    picture(rng, 120, 100, "RGBA").save(deep / "alpha.webp")
    Image.fromarray(rng.integers(0, 65_536, (100, 120)).astype(np.uint16)).save(deep / "deep.tif")
    rotated = picture(rng, 300, 100)
    exif = rotated.getexif()
    exif[0x0112] = 6
    rotated.save(tmp_path / "rotated.jpg", exif=exif)
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    (tmp_path / "empty.png").write_bytes(b"")
    picture(rng, 300, 200).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:600])
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.jpg").write_bytes(b"hidden")
    return tmp_path


def test_a_folder_of_any_images(photos, capsys):
    images = data.load(f"folder:{photos}")
    taken, left = capsys.readouterr().out.splitlines()
    kinds = "3 .jpg, 2 .png, 1 .webp, 1 .tif, 1 .gif"
    assert taken == f"Images of {photos}: 8 ({kinds}); no labels"
    assert left.startswith("Left out: ") and "hidden files: 1 (.hidden.jpg)" in left
    assert "unreadable: 3 (broken.jpg: UnidentifiedImageError: " in left
    assert "cut.jpg: OSError: " in left and "empty.png: the file is empty)" in left
    assert left.endswith("1 .txt (no image format that is read here)")
    assert len(images.train) == 8 and images.test is None and images.num_classes is None
    assert images.train.image_size == 224
    place = [Path(path).name for path in images.scan.paths].index("rotated.jpg")
    assert list(images.scan.sizes[place]) == [100, 300]
    batch = np.concatenate(list(images.train.plain_batches(3).as_numpy_iterator()))
    assert batch.shape == (8, 224, 224, 3) and batch.dtype == np.uint8


def test_folder_batches_are_a_function_of_the_step(photos):
    split = data.load(f"folder:{photos}", image_size=32).train
    augment = TwoViews.for_image_size(64)
    whole = list(split.training_batches(3, augment, 0, 0).take(7))
    late = list(split.training_batches(3, augment, 0, 4).take(3))
    for expected, got in zip(whole[4:], late, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, expected, got)
    (first, second), labels = whole[0]
    assert first.shape == second.shape == (3, 32, 32, 3) and list(labels) == [-1] * 3
    assert [len(labels) for _, labels in whole] == [3, 3, 2, 3, 3, 2, 3]


def test_a_crop_equals_pillow_on_the_decoded_image(photos):
    path = photos / "plain.jpg"
    crop = image_files.crop(str(path), [0.25, 0.1, 0.75, 0.9], 100)
    with Image.open(path) as image:
        box = (30, 50, 270, 150)
        expected = image.resize((100, 100), Image.Resampling.BILINEAR, box=box)
    np.testing.assert_allclose(crop.astype(int), np.asarray(expected, int), atol=2)


def test_sixteen_bit_pixels_keep_their_brightness(tmp_path):
    Image.fromarray(np.full((20, 20), 0x8040, np.uint16)).save(tmp_path / "deep.png")
    crop = image_files.crop(str(tmp_path / "deep.png"), [0, 0, 1, 1], 8)
    np.testing.assert_array_equal(crop, 0x80)


def test_folder_batches_are_sent_as_copies_and_give_the_same_views(photos):
    split = data.load(f"folder:{photos}", image_size=32).train
    augment = TwoViews(blur=0.5, solarise=0.5)
    early = split.training_batches(3, augment, 0, 0).take(4)
    for (views, labels), (drawn, same) in zip(
        early, split.training_batches(3, Late(augment), 0, 0), strict=False
    ):
        assert drawn.pixels.dtype == tf.uint8 and drawn.pixels.shape[1:] == (48, 48, 3)
        np.testing.assert_array_equal(labels, same)
        for view, rendered in zip(views, drawn.rendered(augment, (32, 32)), strict=True):
            np.testing.assert_allclose(view, rendered, atol=1e-3)


def test_files_of_the_size_of_their_views_give_the_batches_of_an_array(cifar, tmp_path):
    images = cifar.train.images[:12]
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i:02d}.png")
    files = data.load(f"folder:{tmp_path}").train
    array = data.ArraySplit(images, None)
    batches = (each.training_batches(5, TwoViews(), 3, 2) for each in (files, array))
    for own, expected in zip(*(each.take(4) for each in batches), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, own, expected)


def test_views_of_photographs_are_their_crops_as_pillow_makes_them(photos):
    """Cut out of a square copy, of another aspect; 80 % of the image, at 64 pixels, from 96."""
    split = data.load(f"folder:{photos}", image_size=64).train
    recipe = TwoViews((0.8, 0.8), flip=0, jitter=(0, 0, 0, 0), gray=0)
    index = [i for i, path in enumerate(split.paths) if Path(path).name == "plain.jpg"]
    split = split.take(index)
    (view, _), _ = next(iter(split.training_batches(1, recipe, 0, 0)))
    draws = recipe.draws(1, (tf.constant(0, tf.int64), tf.constant(0, tf.int64)))
    top, left, bottom, right = recipe.crop_boxes(draws, split.aspects)[0, 0].numpy()
    with Image.open(split.paths[0]) as image:
        box = (left * image.width, top * image.height, right * image.width, bottom * image.height)
        expected = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR, box=box), float)
    # The photograph is half noise, of which what is resampled twice loses a little.
    assert np.abs(view[0] - expected).mean() < 0.06 * expected.std()


def test_a_model_trains_alike_on_copies_that_are_sent(photos):
    split = data.load(f"folder:{photos}", image_size=16).train

    def train(late):
        keras.utils.set_random_seed(0)
        encoder = cueco_tf.build_encoder("resnet10", 4, 16)
        sizes = dict(queue_size=8, hidden_dim=8, projection_dim=4, total_steps=4)
        model = cueco_tf.CueCo(encoder, 2, **sizes)
        model.compile(keras.optimizers.SGD(0.05))
        augment = Late(model.augment) if late else model.augment
        batches = split.training_batches(4, augment, 0, 0)
        model.fit(batches, epochs=2, steps_per_epoch=2, verbose=0, settle=False)
        return model

    for own, other in zip(train(True).weights, train(False).weights, strict=True):
        np.testing.assert_allclose(own.numpy(), other.numpy(), atol=1e-4, err_msg=own.path)


def test_an_image_that_breaks_later_is_left_out_of_its_batch(photos):
    split = data.load(f"folder:{photos}", image_size=32).train
    path = photos / "plain.jpg"
    path.write_bytes(path.read_bytes()[:400])  # truncated after the scan
    (photos / "a" / "b" / "gray.png").unlink()
    batches = split.training_batches(8, TwoViews(), 0, 0)
    with pytest.warns(UserWarning, match="Skipped") as caught:
        (first, _), labels = next(iter(batches))
    assert len(first) == len(labels) == 6
    named = " ".join(str(each.message) for each in caught)
    assert "plain.jpg" in named and "gray.png" in named
    with pytest.raises(tf.errors.OpError, match=r"Cannot read .*gray\.png"):
        list(split.plain_batches())


def test_direct_sub_folders_are_classes(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("cat", 20), ("dog", 30)):
        (tmp_path / name).mkdir()
        for i in range(count):
            picture(rng, 48, 40).save(tmp_path / name / f"{i}.png")
    images = data.load(f"folder:{tmp_path}")
    assert images.class_names == ("cat", "dog") and images.train.image_size == 40
    assert (len(images.train), len(images.test)) == (40, 10)
    np.testing.assert_array_equal(np.bincount(images.test.labels), [4, 6])
    assert not set(images.train.paths) & set(images.test.paths)
    for path, label in zip(images.test.paths, images.test.labels, strict=True):
        assert images.class_names[label] in path


def test_folders_without_an_image_are_named(tmp_path):
    with pytest.raises(DataError, match=f"There is no folder {tmp_path}/nowhere"):
        data.load(f"folder:{tmp_path}/nowhere")
    with pytest.raises(DataError, match=f"No readable image in {tmp_path}"):
        data.load(f"folder:{tmp_path}")
    (tmp_path / "broken.png").write_bytes(b"no")
    with pytest.raises(DataError, match=f"No readable image in {tmp_path}"):
        data.load(f"folder:{tmp_path}")


def test_a_missing_tfds_set_names_the_folder_and_the_way_out(tmp_path):
    with pytest.raises(DataError) as caught:
        data.load("tfds:no_such_set_at_all", tmp_path)
    text = str(caught.value)
    assert "no_such_set_at_all" in text and str(tmp_path) in text and "--data-dir" in text


@pytest.fixture(scope="module")
def jpeg_set(tmp_path_factory, cifar):
    """A small TFDS set of real images in the manner of ImageNet: JPEG files of several sizes."""
    import tensorflow_datasets as tfds

    classes = cifar.class_names[:4]

    def examples(split, count):
        chosen = [i for i in range(len(split)) if split.labels[i] < 4][:count]
        for i in chosen:
            image = Image.fromarray(split.images[i]).resize((100 + i % 50, 120))
            yield i, {"image": np.asarray(image), "label": int(split.labels[i])}

    builder = tfds.dataset_builders.store_as_tfds_dataset(
        name="large_images",
        version="1.0.0",
        data_dir=tmp_path_factory.mktemp("tfds"),
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=list(classes)),
            }
        ),
        split_datasets={
            "train": list(examples(cifar.train, 40)),
            "validation": list(examples(cifar.test, 12)),
        },
    )
    return builder, classes


def test_large_tfds_images_become_files_that_stream(jpeg_set):
    builder, classes = jpeg_set
    split = tfds.extract(builder, "train", classes, None, 64)
    assert len(split) == 40 and split.image_size == 64
    again = tfds.extract(builder, "train", classes, None, 64)
    np.testing.assert_array_equal(split.paths, again.paths)
    expected = sorted(
        (int(e["label"]), e["image"].shape[:2])
        for e in builder.as_dataset(split="train").as_numpy_iterator()
    )
    got = []
    for path, label in zip(split.paths, split.labels, strict=True):
        with Image.open(path) as image:
            got.append((int(label), image.size[::-1]))
    assert sorted(got) == expected


def test_a_tfds_set_can_be_cut_to_some_classes(jpeg_set):
    builder, classes = jpeg_set
    kept = (classes[3], classes[1])
    split = tfds.extract(builder, "validation", classes, kept, 64)
    expected = [
        kept.index(classes[int(e["label"])])
        for e in builder.as_dataset(split="validation").as_numpy_iterator()
        if classes[int(e["label"])] in kept
    ]
    assert sorted(split.labels) == sorted(expected) and len(expected) > 0


def test_tfds_images_without_a_label_have_none(tmp_path, cifar):
    import tensorflow_datasets as sets

    known = [0, -1, 1, -1, 1]
    examples = [
        (
            i,
            {
                "image": np.asarray(Image.fromarray(cifar.train.images[i]).resize((99, 80))),
                "label": k,
            },
        )
        for i, k in enumerate(known)
    ]
    builder = sets.dataset_builders.store_as_tfds_dataset(
        name="half_labelled",
        version="1.0.0",
        data_dir=tmp_path,
        features=sets.features.FeaturesDict(
            {
                "image": sets.features.Image(encoding_format="jpeg"),
                "label": sets.features.ClassLabel(names=["a", "b"]),
            }
        ),
        split_datasets={"train": examples},
    )
    split = tfds.extract(builder, "train", ("a", "b"), None, 64)
    assert sorted(split.labels) == sorted(known) and len(split.labelled()) == 3
    assert sorted(tfds.extract(builder, "train", ("a", "b"), ("b",), 64).labels) == [0, 0]


def test_a_holdout_holds_images_that_can_be_scored(tmp_path):
    for i in range(20):
        folder = tmp_path / "ab"[i % 2] if i < 12 else tmp_path
        folder.mkdir(exist_ok=True)
        picture(np.random.default_rng(i), 40, 40).save(folder / f"{i:02}.png")
    held = data.load(f"folder:{tmp_path}", holdout=0.3)
    assert (held.test.labels >= 0).all() and (held.train.labels < 0).sum() == 8


def test_loading_says_nothing_when_all_is_well(tmp_path):
    for name in ("a.png", "b.png"):
        picture(np.random.default_rng(0), 40, 40).save(tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(data.load(f"folder:{tmp_path}").train) == 2


def test_a_holdout_takes_the_place_of_the_test_split(digits, tmp_path):
    held = data.load("digits", image_size=16, holdout=0.25)
    assert (len(held.train), len(held.test)) == (1078, 359)
    # Together they are the training split again, and nothing of the test split is among them.
    parts = np.concatenate([held.train.images, held.test.images]).reshape(1437, -1)
    whole = digits.train.images.reshape(1437, -1)
    np.testing.assert_array_equal(np.unique(parts, axis=0), np.unique(whole, axis=0))
    again = data.load("digits", image_size=16, holdout=0.25)
    np.testing.assert_array_equal(again.test.images, held.test.images)
    with pytest.raises(DataError, match="leaves 1437 training images and 0 to score on"):
        data.load("digits", holdout=1e-4)

    unlabelled = tmp_path / "photos"
    unlabelled.mkdir()
    for i in range(4):
        picture(np.random.default_rng(i), 40, 40).save(unlabelled / f"{i}.png")
    with pytest.raises(DataError, match="no labels, so nothing held out could be scored"):
        data.load(f"folder:{unlabelled}", holdout=0.5)
