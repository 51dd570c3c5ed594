"""The training step against PyTorch's, and on a CPU against what the processor can do.

On a CPU both sides have the same network, weights, head, queue, batch and loss (MoCo: the first
loss alone, one direction) and all cores; before the race their first losses are compared. CueCo
still assigns and moves its clusters, and reports them. PyTorch stores images in channels-last
order. The third side is the rate at which the images would pass if every multiplication ran at the
speed of a large matrix product. Only an idle machine gives a fair result: PyTorch's threads wait
for each other, so that a core taken away by other work costs it far more than TensorFlow.
`taskset -c 0` races on one core.

On a GPU (--device gpu, the default where there is one) both sides take all of CueCo's step, with
its clusters and k-means every 50 steps, in bfloat16: PyTorch in channels-last order, eager, by
torch.compile and as CUDA graphs; CueCo compiled by XLA. CueCo makes its views in the step, of
50,000 images that lie on the GPU; PyTorch's are ready. The clock is read when the GPU is done.

Needs the extra `bench`: pip install ".[bench]"
"""

import math
import time
from importlib.util import find_spec

from cueco_tf.export.reading import cores
from pipelines.benchmarking import bare_step, devices
from pipelines.benchmarking.measuring import Findings, alternate

ROUNDS = 9
_MATRIX = 3072
_TOLERANCE = 1e-3  # float32 sums in another order


def add_options(parser):
    """Its part of the command line."""
    bare_step.add_options(parser)
    parser.add_argument(
        "--device", choices=("cpu", "gpu"), help="(default: gpu where there is one)"
    )
    parser.add_argument(
        "--compile", action="store_true", help="CPU: let torch.compile have the PyTorch networks"
    )
    parser.add_argument(
        "--pytorch",
        nargs="+",
        choices=("eager", "compiled", "graph"),
        default=["eager", "compiled", "graph"],
        metavar="SIDE",
        help="GPU: which PyTorch to race against (default: eager compiled graph)",
    )
    parser.add_argument(
        "--refreshes",
        type=int,
        default=4,
        help="GPU: k-means a measurement, with 50 steps each, in the place of --steps (default: 4)",
    )


def measure(options):
    """Runs the comparison.

    Raises:
        ValueError: for a network that the PyTorch side does not have, a GPU where there is none,
            or two sides whose first losses differ.
        ImportError: without PyTorch.
    """
    if options.encoder == "resnet50":
        raise ValueError("--encoder should be resnet10, resnet18 or resnet34: PyTorch's has these.")
    if options.device != "gpu" and not find_spec("torch"):
        raise ImportError('PyTorch is missing: pip install ".[bench]"')
    device = devices.choose(options.device)
    try:
        import torch

        from pipelines.benchmarking import gpu_race
        from pipelines.benchmarking.torch_cueco import TorchCueCo
    except ImportError as error:
        raise ImportError(f'PyTorch is missing ({error}): pip install ".[bench]"') from error
    if device == "gpu":
        return gpu_race.measure(options)
    torch.set_num_threads(cores())
    model = bare_step.build(options, loss_weights=(1, 0, 0), queue_size=4096)
    bare_step.start_clusters(model)
    views = bare_step.random_views(options.batch_size)
    moco = TorchCueCo(options.encoder, options.width, model, views, clusters=False)
    facts = bare_step.compare_losses(model, views, moco, _TOLERANCE)
    if options.compile:
        moco.compile()
    flops = 4 * forward_flops(model.encoder, model.head)  # forward and key forward, backward twice
    both = _race(options, model, views, moco, flops)
    facts["GFLOP an image and step"] = flops / 1e9
    facts["peak, GFLOP/s"] = max(both.values["matrix product"]) * flops / 1e9
    return Findings(
        bare_step.settings(options) | {"torch_compile": options.compile},
        (
            both.between("PyTorch", "CueCo", "against PyTorch"),
            both.between("matrix product", "CueCo", "share of the peak"),
        ),
        facts,
    )


def _race(options, model, views, torch_step, flops):
    """The rates of both sides and of the matrix product, in turn, in images/s."""
    import tensorflow as tf

    batches = bare_step.endless(views)
    square = tf.random.stateless_uniform((_MATRIX, _MATRIX), (0, 0))

    def pytorch():
        start = time.monotonic()
        for _ in range(options.steps):
            torch_step()
        return options.steps * options.batch_size / (time.monotonic() - start)

    def peak():
        start = time.monotonic()
        for _ in range(4):
            tf.linalg.matmul(square, square)[0, 0].numpy()
        return 4 * 2 * _MATRIX**3 / (time.monotonic() - start) / flops

    sides = {
        "PyTorch": pytorch,
        "CueCo": lambda: bare_step.rate(model, batches, options.steps, options.batch_size),
        "matrix product": peak,
    }
    for side in sides.values():
        side()  # builds graphs and fills caches
    return alternate("training step", "images/s", sides, options.rounds)


def forward_flops(*networks):
    """Floating-point operations of one image's way through built Keras networks: two for each
    multiplication of its convolutions and dense layers."""
    layers = [layer for network in networks for layer in network.layers]
    return sum(
        2 * math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)
        for layer in layers
        if hasattr(layer, "kernel")
    )
