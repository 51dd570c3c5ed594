"""CueCo's step on a GPU against PyTorch's: `benchmark step --device gpu`."""

import time

import torch

from pipelines.benchmarking import bare_step, devices
from pipelines.benchmarking.measuring import Findings, alternate
from pipelines.benchmarking.torch_cueco import TorchCueCo

_REFRESH_STEPS = 50  # from one k-means to the next
_PREPARED = {"eager": None, "compiled": TorchCueCo.compile, "graph": TorchCueCo.record}
_WARM_UP = 20  # steps before the clock starts; CueCo has as many
_TOLERANCE = 2e-2  # of losses in bfloat16


def measure(options):
    """Runs the comparison.

    Raises:
        ValueError: where PyTorch finds no GPU, or the first losses of the two sides differ.
    """
    if not torch.cuda.is_available():
        raise ValueError("PyTorch finds no GPU here: install its build for CUDA.")
    torch.backends.cudnn.benchmark = True
    model = bare_step.build(
        options,
        precision="mixed_bfloat16",
        jit=True,
        refresh_steps=_REFRESH_STEPS,
        warmup_epochs=0.0,
    )
    bare_step.start_clusters(model)
    views = bare_step.random_views(options.batch_size)

    def pytorch():
        given = options.encoder, options.width, model, views
        return TorchCueCo(*given, device="cuda", bfloat16=True)

    facts = {"device": devices.described()}
    facts |= bare_step.compare_losses(model, views, pytorch(), _TOLERANCE)
    others = {f"PyTorch, {name}": _prepared(pytorch(), name) for name in options.pytorch}
    rates = _race(options, model, others)
    return Findings(
        bare_step.settings(options) | {"steps": options.refreshes * _REFRESH_STEPS},
        tuple(rates.between(name, "CueCo", f"against {name}") for name in others),
        facts,
    )


def _prepared(side, name):
    print(f"preparing PyTorch, {name}", flush=True)
    if _PREPARED[name]:
        _PREPARED[name](side)
    return side


def _race(options, model, others):
    """The rates of all sides, in turn, in images/s."""
    steps, size = options.refreshes * _REFRESH_STEPS, options.batch_size
    images = bare_step.random_images(size)

    def rate_of(side):
        def rate():
            for _ in range(_WARM_UP):
                side()
            torch.cuda.synchronize()
            start = time.monotonic()
            for _ in range(steps):
                side()
            torch.cuda.synchronize()
            return steps * size / (time.monotonic() - start)

        return rate

    sides = {name: rate_of(side) for name, side in others.items()}
    sides["CueCo"] = lambda: bare_step.rate(model, images, steps, size)
    for name, side in sides.items():
        print(f"compiling and warming up: {name}", flush=True)
        side()
    return alternate("training step", "images/s", sides, options.rounds)
