"""No sum in a step may be taken in another order because another operation was slow.

TensorFlow's AddN writes into the first of its inputs that nobody else still reads, and begins the
sum with that one: of three and more numbers the order, and with it the rounding, may then depend
on what ran before what. Grappler makes such sums of additions that follow one another.
"""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_methods import SMALL
from tensorflow.python.eager import context

import cueco_tf
from cueco_tf.parts.optimizers import LARS
from cueco_tf.settings.methods import METHODS

_SAME_BUFFER = {"Identity", "Reshape", "Squeeze", "ExpandDims", "StopGradient"}
_NEVER_FREE = {"Const", "Placeholder", "_Arg", "VarHandleOp", "ReadVariableOp"}


def racing(nodes, returned=()):
    """The sums of three or more in which one that others read comes before any that none does."""
    nodes = {node.name: node for node in nodes}

    def buffer(name):
        node, _, output = name.partition(":")
        while node in nodes and nodes[node].op in _SAME_BUFFER:
            node, _, output = nodes[node].input[0].partition(":")
        return node, output or "0"

    readers, sums = collections.defaultdict(set), {}
    for name in returned:
        readers[buffer(name)].add("the caller")
    for node in nodes.values():
        inputs = [buffer(name) for name in node.input if not name.startswith("^")]
        if node.op not in _SAME_BUFFER:
            for each in inputs:
                readers[each].add(node.name)
        if node.op == "AddN" and len(inputs) > 2:
            sums[node.name] = inputs
    found = []
    for name, inputs in sums.items():
        free = [
            each for each in inputs if each[0] in nodes and nodes[each[0]].op not in _NEVER_FREE
        ]
        if free and len(readers[free[0]]) > 1:
            found.append(name)
    return found


def optimised(run):
    """The graphs that TensorFlow made of all that `run` runs, their functions included."""
    context.enable_run_metadata()
    try:
        run()
        graphs = [
            each.post_optimization_graph for each in context.export_run_metadata().function_graphs
        ]
    finally:
        context.disable_run_metadata()
    for graph in graphs:
        yield graph.node, ()
        for function in graph.library.function:
            yield function.node_def, function.ret.values()


@pytest.mark.parametrize("read", [False, True])
def test_the_order_depends_on_whether_the_first_is_read(read):
    """If this fails, TensorFlow sums in one order, and this file can go."""
    x, y, z = np.random.default_rng(0).normal(size=(3, 512)).astype("float32")

    @tf.function
    def function(x, middle, z):  # Grappler sorts what it adds by name
        first, last = tf.multiply(x, 0.9, name="first"), tf.multiply(z, 0.9, name="second")
        return tf.add_n([first, middle, last]), first if read else ()

    arguments = [tf.constant(each) for each in (x, y, z)]
    graphs = list(optimised(lambda: function(*arguments)))
    total = function(*arguments)[0].numpy()
    x, z = x * np.float32(0.9), z * np.float32(0.9)
    assert np.array_equal(total, (z + y) + x if read else (x + y) + z)
    assert not np.array_equal((z + y) + x, (x + y) + z)
    assert any(racing(*graph) for graph in graphs) == read


@pytest.mark.parametrize("method", METHODS)
def test_a_step_has_none(method, digits):
    """Under LARS, which adds gradients as they are."""
    kind = getattr(cueco_tf, METHODS[method].model.split(":")[1])
    encoder = cueco_tf.build_encoder("resnet10", width=4, image_size=16)
    model = kind(encoder, **{**SMALL[method], "num_classes": 10})
    model.compile(LARS(keras.optimizers.schedules.CosineDecay(0.1, 10), weight_decay=1e-4))
    x, y = digits.train.images[:90], digits.train.labels[:90]
    graphs = list(optimised(lambda: model.fit(x, y, batch_size=40, verbose=0)))
    assert sum(node.op == "Conv2D" for nodes, _ in graphs for node in nodes) >= 10
    assert not [name for graph in graphs for name in racing(*graph)]
