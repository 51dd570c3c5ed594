"""Kills a training run over and over, and compares what it becomes with an undisturbed run."""

import itertools
import random
import time
from pathlib import Path

import numpy as np

from cueco_tf.running import checkpoints
from cueco_tf.running.run_folder import RunFolder
from pipelines.enduring.life import Life

# What a kill waits for after its random delay, in turn.
AIMS = ("step", "checkpoint", "evaluation", "anywhere", "start-up")
_OPTIONS = [
    *("--dataset", "digits", "--image-size", "8", "--width", "8"),
    *("--batch-size", "256", "--queue-size", "300"),
]
_STILL_TO_COME = 6  # epochs


def chaos(folder, kills, epochs, seed=0):
    """Trains on the digits twice, once with SIGKILLs at random moments, and compares the two.

    Args:
        folder: path of an empty or new folder for both runs.
        kills: integer >= 1.
        epochs: integer >= 7.
        seed: integer, for the moments.

    Returns:
        A dict: `kills`, one dict each (`aim`, `phase`, `where`, `checkpoint_step`,
        `half_written`: files that the kill cut off); `arrays`, the number compared; `differing`,
        the names of arrays that are not bit-identical; `epochs`, the epochs that were recorded;
        `identical`, whether weights, optimizer, queue, clusters, metrics and final scores are.

    Raises:
        ChaosError: when a life ends by itself in an error, or before its kill.
    """
    folder = Path(folder)
    arguments = [*_OPTIONS, "--epochs", str(epochs)]
    calm, disturbed = (RunFolder(folder / name) for name in ("undisturbed", "disturbed"))
    life = Life(calm, arguments)
    life.wait_until(calm.snapshot(0).exists)
    startup = life.age()
    life.finish()
    last, former = (path.stat().st_mtime for path in checkpoints.find(calm.checkpoints))
    per_epoch = last - former

    rng = random.Random(seed)
    hits = []
    for epoch, aim in _plan(kills, epochs, rng):
        life = Life(disturbed, arguments)
        if aim == "start-up":
            time.sleep(rng.uniform(0, startup / 2))
        else:
            enough = epoch * _steps(calm) // epochs
            life.wait_until(lambda enough=enough: _steps(disturbed) >= enough)
            time.sleep(rng.uniform(0, per_epoch))
        hit = life.kill(aim, rng)
        if hit is None:  # the run was over before its moment had come
            break
        phase, where = hit
        hits.append(
            {
                "aim": aim,
                "phase": phase,
                "where": where,
                "checkpoint_step": _steps(disturbed),
                "half_written": sorted(p.name for p in disturbed.path.rglob(".partial-*")),
            }
        )
    Life(disturbed, arguments).finish()
    return {"kills": hits, **compare(calm, disturbed)}


def compare(one, other):
    """Whether two finished runs are the same but for what their clocks said: see `chaos`."""
    arrays = [dict(np.load(checkpoints.find(run.checkpoints)[0])) for run in (one, other)]
    names = sorted(arrays[0].keys() | arrays[1].keys())
    differing = [
        name
        for name in names
        if any(name not in each for each in arrays)
        or arrays[0][name].tobytes() != arrays[1][name].tobytes()
    ]
    metrics = [
        [{**row, "images_per_second": None} for row in run.read_metrics(run.read_config())]
        for run in (one, other)
    ]
    summaries = [run.read_summary() for run in (one, other)]
    recorded = [int(row["epoch"]) for row in metrics[1]]
    return {
        "arrays": len(names),
        "differing": differing,
        "epochs": recorded,
        "identical": not differing
        and metrics[0] == metrics[1]
        and summaries[0] == summaries[1]
        and recorded == list(range(1, len(recorded) + 1)),
    }


def _plan(kills, epochs, rng):
    """(epoch after which, aim) of each kill, in order. Some epochs are always still to come, in
    which what is aimed at can be met: a checkpoint is written in milliseconds."""
    aims = itertools.islice(itertools.cycle(AIMS), kills)
    drawn = [(rng.randint(1, epochs - _STILL_TO_COME), aim) for aim in aims]
    return sorted(drawn, key=lambda pair: pair[0])


def _steps(run):
    found = checkpoints.find(run.checkpoints)
    return int(found[0].stem.removeprefix("step-")) if found else 0
