import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cueco_tf.data.augment import TwoViews

NOTHING = dict(
    crop_scale=(1, 1), crop_ratio=(1, 1), flip=0, jitter=(0, 0, 0, 0), jitter_probability=0, gray=0
)


@pytest.fixture(scope="module")
def images(cifar):
    return cifar.train.images[:64]


def views(images, seed=(0, 1), **options):
    return [view.numpy() for view in TwoViews(**{**NOTHING, **options})(images, seed)]


def test_views_are_a_function_of_the_seed(images):
    recipe = TwoViews.for_image_size(32)
    first, second = recipe(images, (0, 1))
    again, _ = recipe(images, (0, 1))
    np.testing.assert_array_equal(first, again)
    for other in (second, recipe(images, (0, 2))[0], recipe(images, (1, 1))[0]):
        assert np.abs(first - other).mean() > 1
    assert first.shape == images.shape and first.dtype == tf.float32
    assert first.numpy().min() >= 0 and first.numpy().max() <= 255


def test_nothing_chosen_changes_nothing(images):
    for view in views(images):
        np.testing.assert_allclose(view, images, atol=1e-2)


def test_flip_mirrors_the_columns(images):
    for view in views(images, flip=1):
        np.testing.assert_allclose(view, images[:, :, ::-1], atol=1e-2)
    mixed = views(images, flip=0.5)[0]
    mirrored = np.abs(mixed - images[:, :, ::-1]).max(axis=(1, 2, 3)) < 1e-2
    assert 0.25 < mirrored.mean() < 0.75


def test_crop_equals_bilinear_sampling_of_its_box(images):
    recipe = TwoViews(**{**NOTHING, "crop_scale": (0.2, 1), "crop_ratio": (3 / 4, 4 / 3)})
    seed = (0, 5)
    view = recipe(images, seed)[1].numpy()
    boxes = recipe.crop_boxes(recipe.draws(len(images), seed))[:, 1].numpy()
    for i in (0, 13, 40):
        top, left, bottom, right = boxes[i] * 32
        for row, column in ((0, 0), (10, 21), (31, 31)):
            y = np.clip(top + (row + 0.5) / 32 * (bottom - top) - 0.5, 0, 31)
            x = np.clip(left + (column + 0.5) / 32 * (right - left) - 0.5, 0, 31)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, 31), min(x0 + 1, 31)
            corner = images[i].astype(float)
            upper = corner[y0, x0] * (1 - x + x0) + corner[y0, x1] * (x - x0)
            lower = corner[y1, x0] * (1 - x + x0) + corner[y1, x1] * (x - x0)
            expected = upper * (1 - y + y0) + lower * (y - y0)
            np.testing.assert_allclose(view[i, row, column], expected, atol=0.05)


@pytest.mark.parametrize("aspect", [1.0, 0.5, 3.0])
def test_boxes_lie_in_the_image_with_the_wanted_area_and_shape(aspect):
    recipe = TwoViews(crop_scale=(0.1, 0.3))
    boxes = recipe.crop_boxes(recipe.draws(4000, (0, 0)), aspect)[:, 0]
    top, left, bottom, right = boxes.numpy().T
    assert min(top.min(), left.min()) >= 0 and max(bottom.max(), right.max()) <= 1 + 1e-6
    area = (bottom - top) * (right - left)
    assert area.min() >= 0.1 - 1e-5 and area.max() <= 0.3 + 1e-5
    assert area.mean() == pytest.approx(0.2, abs=0.01)
    if aspect == 1.0:
        ratio = (right - left) / (bottom - top)
        assert ratio.min() >= 0.75 - 1e-3 and ratio.max() <= 4 / 3 + 1e-3


def test_jitter_equals_brightness_contrast_and_saturation_done_one_by_one(images):
    recipe = TwoViews(**{**NOTHING, "jitter": (0.1, 0.1, 0.4, 0), "jitter_probability": 1})
    seed = (0, 9)
    dimmed = (images * 0.5 + 60).astype("uint8")  # nothing reaches 0 or 255, so nothing is clipped
    view = recipe(dimmed, seed)[0].numpy()
    draws = recipe.draws(len(images), seed)[:, 0].numpy()
    luma = np.array([0.299, 0.587, 0.114])
    for i in range(8):
        brightness, contrast, saturation = 1 + np.array([0.1, 0.1, 0.4]) * (2 * draws[i, 10:13] - 1)
        x = dimmed[i] * brightness
        x = (x - (x @ luma).mean()) * contrast + (x @ luma).mean()
        gray = (x @ luma)[..., None]
        x = gray + saturation * (x - gray)
        np.testing.assert_allclose(view[i], x, atol=0.05)


def test_hue_turns_colours_and_keeps_their_luma(images):
    dimmed = (images * 0.3 + 90).astype("uint8")
    view = views(dimmed, jitter=(0, 0, 0, 0.1), jitter_probability=1)[0]
    luma = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(view @ luma, dimmed @ luma, atol=0.1)
    assert np.abs(view - dimmed).mean() > 1


def test_gray_is_the_luma_in_all_channels(images):
    view = views(images, gray=1)[0]
    expected = images @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(view, np.repeat(expected[..., None], 3, -1), atol=0.05)


def test_blur_takes_detail_away_and_keeps_the_mean(images):
    view = views(images, blur=1)[0]
    detail = [np.abs(np.diff(x.astype(float), axis=2)).mean() for x in (view, images)]
    assert detail[0] < 0.8 * detail[1]
    assert view.mean() == pytest.approx(images.mean(), rel=0.02)


def test_solarisation_inverts_the_bright_half_of_the_second_view_alone(images):
    first, second = views(images, solarise=1)
    np.testing.assert_allclose(first, images, atol=1e-2)
    clear = np.abs(images.astype(float) - 127.5) > 2  # away from the threshold
    expected = np.where(images < 128, images, 255 - images)
    np.testing.assert_allclose(second[clear], expected[clear], atol=1e-2)


@pytest.mark.parametrize("channels", [1, 5])
def test_channels_that_are_no_colours_change_in_brightness_and_contrast_alone(images, channels):
    several = np.concatenate([images, images[:, ::-1]], axis=-1)[:16, ..., :channels]
    dimmed = (several * 0.5 + 60).astype("float32") + 0.25
    recipe = TwoViews(
        **{**NOTHING, "jitter": (0.1, 0.1, 0.4, 0.1), "jitter_probability": 1, "gray": 1}
    )
    seed = (0, 9)
    draws = recipe.draws(len(dimmed), seed).numpy()
    for view, made in enumerate(recipe(dimmed, seed)):
        changes = 1 + 0.1 * (2 * draws[:, view, 10:12] - 1)
        x = dimmed * changes[:, 0, None, None, None]
        middle = x.mean(axis=(1, 2), keepdims=True)  # each channel's own
        expected = (x - middle) * changes[:, 1, None, None, None] + middle
        np.testing.assert_allclose(made, expected, atol=0.02)


@pytest.mark.parametrize("channels", [1, 5])
def test_crops_flips_blur_and_solarisation_are_the_same_for_any_channel(images, channels):
    several = np.concatenate([images, images[:, ::-1]], axis=-1)[:16, ..., :channels]
    recipe = dict(crop_scale=(0.3, 1), crop_ratio=(3 / 4, 4 / 3), flip=0.5, blur=0.5, solarise=0.5)
    made = views(several, **recipe)
    for channel in range(channels):
        alone = views(several[..., channel, None].repeat(3, axis=-1), **recipe)
        for view, expected in zip(made, alone, strict=True):
            np.testing.assert_allclose(view[..., channel], expected[..., 0], atol=1e-2)


@pytest.mark.parametrize(
    "options",
    [
        {"flip": 1.5},
        {"gray": -0.1},
        {"crop_scale": (0, 1)},
        {"crop_scale": (0.5, 0.2)},
        {"crop_ratio": (0, 1)},
        {"jitter": (0.4, 0.4, 0.4)},
        {"jitter": (0.4, 0.4, 0.4, 0.7)},
    ],
)
def test_wrong_values_are_named(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` should .* Received"):
        TwoViews(**options)


def test_smaller_views_are_the_means_that_pillow_makes(images):
    size = (20, 24)
    draws = TwoViews(**NOTHING).draws(len(images), (0, 1))
    view = TwoViews(**NOTHING).render(images, draws, size=size)[0].numpy()
    for own, image in zip(view[:8], images, strict=False):
        expected = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
        np.testing.assert_allclose(own[2:-2, 2:-2], np.asarray(expected)[2:-2, 2:-2], atol=1.01)
