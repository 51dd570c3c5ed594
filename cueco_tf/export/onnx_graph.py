"""An ONNX graph in canonical form: a function of what it computes, not of the process that made it.

Converters number names with process-wide counters and list constants in the order of hash tables,
so two conversions of one network differ in every byte. Here nodes are ordered by a walk from the
outputs, and everything is named after its place in that order.
"""

from collections import Counter

import numpy as np
import onnx
from onnx import helper, numpy_helper


def describe(method, images, clusters_are):
    """What the file says of itself, for those who open it without this project.

    Args:
        method: its title.
        images: what it takes, `input` of the manifest.
        clusters_are: `"centroids"`, or what else the clusters are, as in the manifest.
    """
    by = {
        "centroids": "nearest trained centroid",
        "k-means of z": "nearest centroid of k-means of z",
    }
    channels = images["shape"][-1]
    kind = f"{images['dtype']} (n, height, width, {channels})"
    return (
        f"{method} encoder. images: {kind}, pixels 0 to 255{', RGB' * (channels == 3)}. embedding: "
        f"(n, dim) features. cluster: (n,) {by.get(clusters_are, f'by {clusters_are}')}. "
        f"cluster_similarity: (n,) cosine to its centroid."
    )


def canonical(model, images, embedding_dim, description):
    """Copies a model with names and order that depend on its structure alone.

    Args:
        model: `onnx.ModelProto` with the input `images` and the outputs `embedding`, `cluster`
            and `cluster_similarity`, in any order.
        images: `(dtype, shape)` of one image, `("uint8", (32, 32, 3))` say.
        embedding_dim: integer, the length of an embedding.
        description: text that the file carries.

    Returns:
        `onnx.ModelProto`: equal to the last byte for equal networks, once serialised.

    Raises:
        onnx.checker.ValidationError: when the result is not a valid model.
    """
    dtype, shape = images
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    inputs = [_value("images", kind, ("n", *shape))]
    outputs = [
        _value("embedding", onnx.TensorProto.FLOAT, ("n", embedding_dim)),
        _value("cluster", onnx.TensorProto.INT64, ("n",)),
        _value("cluster_similarity", onnx.TensorProto.FLOAT, ("n",)),
    ]
    ordered = _ordered(model.graph, [value.name for value in outputs])
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes, initializers = _renamed(ordered, constants, [v.name for v in (*inputs, *outputs)])
    graph = helper.make_graph(nodes, "cueco_encoder", inputs, outputs, initializers)
    used = {node.domain for node in nodes}
    opsets = sorted((o for o in model.opset_import if o.domain in used), key=lambda o: o.domain)
    result = helper.make_model(
        graph,
        opset_imports=opsets,
        ir_version=model.ir_version,
        producer_name="cueco_tf",
        doc_string=description,
    )
    onnx.checker.check_model(result, full_check=True)
    return result


def _renamed(ordered, constants, public):
    """Copies of the nodes and of the constants that they use, named after their places; the public
    names stay."""
    renamed, nodes, initializers = {name: name for name in public}, [], []
    counter = Counter()
    for original in ordered:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        node.name = f"{node.op_type}_{counter[node.op_type]}"
        node.doc_string = ""
        counter[node.op_type] += 1
        for place, name in enumerate(node.input):
            if name and name not in renamed:  # a constant met for the first time
                renamed[name] = f"{node.name}_input_{place}"
                array = numpy_helper.to_array(constants[name])
                initializers.append(numpy_helper.from_array(array, renamed[name]))
        for place, name in enumerate(node.output):
            renamed.setdefault(name, f"{node.name}_output_{place}")
        node.input[:] = [renamed[name] if name else "" for name in node.input]
        node.output[:] = [renamed[name] if name else "" for name in node.output]
        attributes = sorted(node.attribute, key=lambda attribute: attribute.name)
        del node.attribute[:]
        node.attribute.extend(attributes)
        nodes.append(node)
    return nodes, initializers


def serialize(model):
    """The bytes of a model, the same for the same content."""
    return model.SerializeToString(deterministic=True)


def _value(name, dtype, shape):
    return helper.make_tensor_value_info(name, dtype, shape)


def _ordered(graph, outputs):
    """The nodes that the outputs need, each after those that it needs."""
    producers = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    order, stack = [], [producers[name] for name in reversed(outputs)]
    done = set()
    while stack:
        i = stack[-1]
        needed = (producers[name] for name in graph.node[i].input if name in producers)
        waiting = next((j for j in needed if j not in done), None)
        if waiting is not None:
            stack.append(waiting)
            continue
        stack.pop()
        if i not in done:
            done.add(i)
            order.append(graph.node[i])
    return order
