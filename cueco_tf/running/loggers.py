"""Who hears of each epoch beside the run folder: the loggers of `--log`.

Each hears by the Keras callback of its own package. Where it writes, in which project and to which
server, its own environment variables say (`WANDB_MODE`, `WANDB_PROJECT`, `MLFLOW_TRACKING_URI`,
`MLFLOW_EXPERIMENT_NAME`). A resumed run goes on under the name that they gave it, which
RUN/logs/loggers.json keeps.
"""

import contextlib
import importlib.util
import json
import os

from cueco_tf.running.run_folder import RunError
from cueco_tf.settings.choices import LOGGERS
from cueco_tf.storage import write_atomically


def check_loggers(names):
    """Raises RunError for a name that is none, or whose package is not installed."""
    for name in names:
        if name not in LOGGERS:
            raise RunError(f"--log should be some of {', '.join(LOGGERS)}. Received: {name}")
        if not importlib.util.find_spec(name):
            raise RunError(f"--log {name} needs {name}, which is not installed: pip install {name}")


@contextlib.contextmanager
def loggers(names, folder, config, workers):
    """Their Keras callbacks, while training lasts.

    Args:
        names: of `LOGGERS`.
        folder: `RunFolder`, owned.
        config: the run's, resolved.
        workers: `Workers`, of which the chief alone has any.

    Returns:
        A context manager that gives a list of callbacks.

    Raises:
        RunError: where one of them cannot begin, as it may without a network or an account.
        Refused: on the other workers.
    """
    with contextlib.ExitStack() as stack:

        def begin():
            return _begin(stack, names, folder, config) if workers.is_chief else []

        yield workers.agree(begin, RunError)


def _begin(stack, names, folder, config):
    known = folder.logs / "loggers.json"
    called = json.loads(known.read_text()) if known.is_file() else {}
    makers = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}
    folder.logs.mkdir(exist_ok=True)
    callbacks = []
    for name in dict.fromkeys(names):
        try:
            callback, own = makers[name](stack, folder, config, called.get(name))
        except Exception as error:  # each package has kinds of its own
            text = str(error).strip() or repr(error)
            raise RunError(f"--log {name} cannot begin: {text.splitlines()[0]}") from error
        callbacks.append(callback)
        if own is not None:
            called[name] = own
            write_atomically(known, lambda path: path.write_text(json.dumps(called) + "\n"))
    return callbacks


def _tensorboard(stack, folder, config, called):
    from cueco_tf.running.recording import EpochLogs

    return EpochLogs(folder.logs), None


def _wandb(stack, folder, config, called):
    import wandb
    from wandb.integration.keras import WandbMetricsLogger

    run = wandb.init(
        dir=os.environ.get("WANDB_DIR", folder.logs),
        id=called,
        resume="allow",
        name=folder.path.resolve().name,
        config=config.flat(),
        settings=wandb.Settings(console="off"),  # else it takes stdout and stderr over
    )
    stack.push(lambda kind, *_: run.finish(exit_code=0 if kind is None else 1))
    return WandbMetricsLogger(), run.id


def _mlflow(stack, folder, config, called):
    import mlflow
    from mlflow.keras import MlflowCallback

    nested = mlflow.active_run() is not None  # of the program that trains
    name = folder.path.resolve().name
    run = stack.enter_context(mlflow.start_run(run_id=called, run_name=name, nested=nested))
    mlflow.log_params(config.flat())
    return MlflowCallback(), run.info.run_id
