"""The operations of the step that several devices take together, before and after XLA compiles what
each of them does alone (`--jit`).

Counted on this machine's CPU, made into as many devices, for one of them; it times nothing. A
compiled function is one operation. Collectives are those that wait for the other devices.
"""

from cueco_tf.settings.fields import ConfigError
from pipelines.benchmarking import bare_step, launches
from pipelines.benchmarking.counting import IDLE_OPERATIONS, graph_operations, working
from pipelines.benchmarking.measuring import Findings

_COLLECTIVES = ("CollectiveReduceV2", "CollectiveGatherV2", "CollectiveReduceV3")


def add_options(parser):
    """Its part of the command line."""
    launches.add_options(parser)
    parser.add_argument("--replicas", type=int, default=2, help="devices (default: 2)")


def measure(options):
    """Counts the operations of a step.

    Raises:
        ConfigError: for options out of range.
    """
    if options.replicas < 2:
        raise ConfigError("replicas", "at least 2", options.replicas)
    strategy = _strategy(options.replicas)
    rows = []
    for title, jit in (("not compiled", False), ("what each does alone compiled", True)):
        print(title, flush=True)
        with strategy.scope():
            model = bare_step.build(options, precision=options.precision, jit=jit)
        found = _count(model, options.batch_size)
        kinds = {
            "operations": working(found, IDLE_OPERATIONS),
            "compiled functions": found["compiled function"],
            "collectives": sum(found[kind] for kind in _COLLECTIVES),
        }
        rows.append({"step": title} | {k: v / options.replicas for k, v in kinds.items()})
    names = ("encoder", "width", "batch_size", "precision", "replicas")
    return Findings({name: getattr(options, name) for name in names}, (), parts=tuple(rows))


def _strategy(replicas):
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * replicas,
    )
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    return tf.distribute.MirroredStrategy(devices)


def _count(model, batch_size):
    """Kinds of operations of the step on all replicas, whose images lie on each of them."""
    from cueco_tf.methods.sources import source_of

    images = bare_step.random_images(batch_size)[: 32 * batch_size]
    model.training_batches(source_of(model, images, batch_size=batch_size), None, on_device=True)
    return graph_operations(model.compiled_step().get_concrete_function(batch_size))
