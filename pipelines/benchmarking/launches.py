"""The operations of the training step, part by part, before and after XLA compiles it.

Each is started by the host, so on a GPU a step of many small ones waits for the host. This counts,
and times nothing: what it says needs no GPU.

  nodes          of the graph that TensorFlow traces for a batch whose size is known, all of its
                 top level: constants and the like, but not what is in branches and functions
  operations     those that work, at all levels: not constants, arguments, identities, reads of
                 variables, NoOps; calls are walked into; branches, and bodies of loops, count once
  update in one  the same where what moves the weights (optimizer, key update) is compiled on its
                 own, by compile(jit_compile="update"): a compiled function is one operation
  after XLA      instructions of the entry computation that XLA makes of the part on this machine:
                 not parameters, constants, tuples, their elements, bitcasts

Parts overlap, and each is compiled without what XLA could join it with in the whole step: they do
not add up. k-means is in the clusters, where it starts them and makes them anew.
"""

from pipelines.benchmarking import bare_step
from pipelines.benchmarking.counting import (
    HOST_CALLS,
    IDLE_INSTRUCTIONS,
    IDLE_OPERATIONS,
    compiled_instructions,
    graph_operations,
    working,
)
from pipelines.benchmarking.measuring import Findings
from pipelines.benchmarking.step_parts import WHOLE, parts_of

_SHOWN = 12  # kinds


def add_options(parser):
    """Its part of the command line."""
    parser.add_argument("--encoder", default="resnet18", help="(default: resnet18)")
    parser.add_argument("--width", type=int, default=64, help="(default: 64)")
    parser.add_argument("--batch-size", type=int, default=256, help="(default: 256)")
    parser.add_argument(
        "--precision",
        default="mixed_bfloat16",
        help="float32, mixed_bfloat16 or mixed_float16 (default: mixed_bfloat16)",
    )


def measure(options):
    """Counts the operations of each part.

    Raises:
        ConfigError: for options out of range.
    """
    model = bare_step.build(options, precision=options.precision, jit=False, refresh_steps=50)
    bare_step.start_clusters(model)
    counts = count(model, options.batch_size)
    whole = counts[WHOLE]
    names = ("encoder", "width", "batch_size", "precision")
    return Findings(
        {name: getattr(options, name) for name in names},
        (),
        {
            "calls back into Python": sum(whole["operations"][kind] for kind in HOST_CALLS),
            "most of the operations": _most(whole["operations"], IDLE_OPERATIONS),
            "most of the instructions": _most(whole["after XLA"], IDLE_INSTRUCTIONS),
        },
        parts=tuple(_row(name, counted) for name, counted in counts.items()),
    )


def count(model, batch_size):
    """Counts the kinds of operations of each part of a model's step.

    Args:
        model: a compiled `CueCo` for square images whose clusters have started. It is compiled
            again, with `jit_compile="update"`.
        batch_size: integer >= 1.

    Returns:
        `{part: counts}`, the counts of a part by name: `nodes`, an integer, and Counters of kinds:
        `operations`, `update in one` and `after XLA`.
    """
    import tensorflow as tf

    parts = parts_of(model, batch_size)
    counts = {name: {} for name in parts}

    def trace(name, title):
        print(f"{title}: {name}", flush=True)
        function, arguments = parts[name]
        graph = tf.function(function, autograph=False).get_concrete_function(*arguments)
        counts[name][title] = graph_operations(graph)
        return graph.graph

    for name, (function, arguments) in parts.items():
        counts[name]["nodes"] = len(trace(name, "operations").get_operations())
        print(f"after XLA: {name}", flush=True)
        counts[name]["after XLA"] = compiled_instructions(function, *arguments)
    model.compile(optimizer=model.optimizer, jit_compile="update")
    for name in parts:
        trace(name, "update in one")
    return counts


def _row(name, counted):
    return {
        "part": name,
        "nodes": counted["nodes"],
        "operations": working(counted["operations"], IDLE_OPERATIONS),
        "update in one": working(counted["update in one"], IDLE_OPERATIONS),
        "after XLA": working(counted["after XLA"], IDLE_INSTRUCTIONS),
    }


def _most(found, idle):
    """The most frequent of the kinds that work, as text."""
    kinds = [(kind, number) for kind, number in found.most_common() if kind not in idle]
    return ", ".join(f"{number} {kind}" for kind, number in kinds[:_SHOWN])
