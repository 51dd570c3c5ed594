"""CueCo's encoder and head in PyTorch, as its users write them. Needs the extra `bench`."""

import contextlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional

_BLOCKS = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}


class _Conv(nn.Module):
    """A convolution and its batch normalisation.

    PyTorch pads a strided 3x3 convolution on all sides, TensorFlow on the right and the bottom
    alone. `as_tensorflow` follows TensorFlow, for the comparison of results before that of speed.
    """

    as_tensorflow = False

    def __init__(self, inputs, outputs, kernel, stride=1):
        super().__init__()
        self.convolution = nn.Conv2d(
            inputs, outputs, kernel, stride, padding=kernel // 2, bias=False
        )
        self.normalisation = nn.BatchNorm2d(outputs)
        self.normalisation.num_batches_tracked = None  # of no use, and an operation a layer

    def forward(self, x):
        convolution = self.convolution
        if self.as_tensorflow and convolution.stride == (2, 2) and convolution.padding == (1, 1):
            x = functional.conv2d(functional.pad(x, (0, 1, 0, 1)), convolution.weight, stride=2)
        else:
            x = convolution(x)
        return self.normalisation(x)


class _Block(nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        changes = stride != 1 or inputs != width
        self.shortcut = _Conv(inputs, width, 1, stride) if changes else nn.Identity()
        self.first = _Conv(inputs, width, 3, stride)
        self.second = _Conv(width, width, 3)

    def forward(self, x):
        shortcut = self.shortcut(x)
        x = functional.relu(self.first(x), inplace=True)
        return functional.relu(self.second(x) + shortcut, inplace=True)


class Network(nn.Module):
    """Images `(n, 3, height, width)`, pixels 0 to 255, to L2-normalised projections in float32.

    Args:
        name: `"resnet10"`, `"resnet18"` or `"resnet34"`, with the stem for small images.
        width: integer >= 1, the channels of the first stage.
        hidden_dim, projection_dim: integers >= 1, of the head.
    """

    def __init__(self, name, width, hidden_dim, projection_dim):
        super().__init__()
        self.stem = _Conv(3, width, 3)
        stages, channels = [], width
        for stage, count in enumerate(_BLOCKS[name]):
            for block in range(count):
                outputs = width * 2**stage
                stages.append(_Block(channels, outputs, 2 if stage > 0 and block == 0 else 1))
                channels = outputs
        self.stages = nn.Sequential(*stages)
        self.hidden = nn.Linear(channels, hidden_dim)
        self.projection = nn.Linear(hidden_dim, projection_dim)

    def forward(self, images):
        """What PyTorch calls for an output."""
        x = functional.relu(self.stem(images / 127.5 - 1.0), inplace=True)
        features = self.stages(x).mean((2, 3))
        projected = self.projection(functional.relu(self.hidden(features), inplace=True))
        return functional.normalize(projected.float())


def to_torch(images):
    """A `(n, height, width, 3)` array as a channels-last `(n, 3, height, width)` tensor."""
    return torch.from_numpy(np.ascontiguousarray(images, np.float32)).permute(0, 3, 1, 2)


@contextlib.contextmanager
def padding_of_tensorflow():
    """Has all networks pad as TensorFlow does while it is entered."""
    _Conv.as_tensorflow = True
    try:
        yield
    finally:
        _Conv.as_tensorflow = False


def take_weights(network, model):
    """Copies a CueCo model's query encoder and head into the PyTorch network.

    Both make their convolutions in the same order, which Keras keeps in its layers' numbers.
    """
    layers = {"Conv2D": [], "FusedBatchNormalization": []}
    for layer in model.encoder.layers:
        if type(layer).__name__ in layers:
            number = layer.name.rpartition("_")[2]
            layers[type(layer).__name__].append((int(number) if number.isdigit() else 0, layer))
    ordered = [
        [layer for _, layer in sorted(pairs, key=lambda p: p[0])] for pairs in layers.values()
    ]
    modules = [module for module in network.modules() if isinstance(module, _Conv)]
    with torch.no_grad():
        for module, convolution, normalisation in zip(modules, *ordered, strict=True):
            kernel = convolution.kernel.numpy().transpose(3, 2, 0, 1)
            module.convolution.weight.copy_(torch.from_numpy(kernel.copy()))
            for name, value in (("weight", "gamma"), ("bias", "beta")):
                array = getattr(normalisation, value).numpy()
                getattr(module.normalisation, name).copy_(torch.from_numpy(array))
        for linear, dense in zip(
            (network.hidden, network.projection), model.head.layers[1:], strict=True
        ):
            linear.weight.copy_(torch.from_numpy(dense.kernel.numpy().T.copy()))
            linear.bias.copy_(torch.from_numpy(dense.bias.numpy()))
