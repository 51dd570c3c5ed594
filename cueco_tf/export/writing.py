"""A trained model as a network to take along, and that network in each file format."""

import contextlib
import json
import logging
import zipfile
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf
from keras import ops

from cueco_tf.export.onnx_graph import canonical
from cueco_tf.export.reading import ExportError
from cueco_tf.methods.inference import inference_network

OPSET = 17  # understood by ONNX Runtime from 1.12 on
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the first date that a zip archive knows


def serving_network(model, directions, rule=None, dtype="uint8"):
    """The network that an export holds, in Keras's own layers and float32.

    Args:
        model: a method, trained under any precision or strategy.
        directions: float32 `(L, dim)`, L2-normalised: the run's clusters.
        rule: `clustering.rule.Rule` that sorts images in their place, or None. Defaults to None.
        dtype: of the images: `"uint8"`, or `"float32"` for deeper ones. Defaults to `"uint8"`.

    Returns:
        A `keras.Model` from `images`, `(n, height, width, channels)`, to a dict: `embedding`,
        float32 `(n, dim)`, the features h; `cluster`, int64 `(n,)`, the direction most similar to
        z, or what the rule says of h; `cluster_similarity`, float32 `(n,)`, the cosine to its
        centroid. The sums that the cluster is the largest of are those of the layer `centroids`.
    """
    network = inference_network(model)
    images = keras.Input(model.image_shape, dtype=dtype, name="images")
    outputs = network(images)
    if rule is None:
        index, similarity = _largest(outputs["projection"], directions.T)
    else:
        x = keras.layers.UnitNormalization(dtype="float32")(outputs["embedding"])
        leaf, _ = _largest(x, rule.weights, rule.bias)
        index = _rows(leaf, rule.clusters[:, None], "clusters")[:, 0]
        centroid = _rows(ops.cast(index, "int32"), rule.centroids, "middles")
        similarity = ops.sum(x * centroid, axis=-1)
    outputs = {
        "embedding": outputs["embedding"],
        "cluster": ops.cast(index, "int64"),
        "cluster_similarity": similarity,
    }
    return keras.Model(images, outputs, name="cueco_encoder")


def _largest(x, weights, bias=None):
    """Which of the sums `x @ weights + bias` is the largest, and that sum: `(n,)` each."""
    layer = keras.layers.Dense(
        weights.shape[1],
        use_bias=bias is not None,
        kernel_initializer="zeros",
        dtype="float32",
        name="centroids",
    )
    # The best of one: like argmax and max together, but without Keras's care for negative zeros
    # in argmax, which ONNX cannot express.
    best, index = ops.top_k(layer(x), k=1)  # (n, 1) each
    layer.set_weights([weights] if bias is None else [weights, bias])
    return ops.squeeze(index, axis=-1), ops.squeeze(best, axis=-1)


def _rows(index, table, name):
    """Rows of a table, `(n, width)`, by a layer that Keras knows."""
    layer = keras.layers.Embedding(
        *table.shape, embeddings_initializer="zeros", dtype="float32", name=name
    )
    rows = layer(index)
    layer.set_weights([table])
    return rows


def save_keras(path, network):
    """Writes a `.keras` file without the times that Keras puts into it."""
    path = Path(path)
    network.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in sorted(archive.namelist())}
    metadata = json.loads(members["metadata.json"])
    del metadata["date_saved"]
    members["metadata.json"] = json.dumps(metadata).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), content)


def save_saved_model(folder, network):
    """Writes a SavedModel: of `model = tf.saved_model.load(folder)` both `model.serve(images)` and
    the signature `serving_default`, called with `images=`, give a dict of tensors."""
    module = tf.Module()  # Keras's own ExportArchive would store every weight twice
    module.serve = _function(network)
    module.weights = [weight.value for weight in network.weights]
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})


def to_onnx(network, description):
    """Converts a serving network, with BatchNormalization folded into the convolutions.

    Args:
        network: what `serving_network` returned.
        description: text that the file carries.

    Returns:
        `onnx.ModelProto` in canonical form, checked in full.

    Raises:
        ExportError: for a network that computes what ONNX does not know.
    """
    import tf2onnx  # seconds to import

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # what is unknown is told below
    function = _function(network)
    with _functions_inlined():
        model, _ = tf2onnx.convert.from_function(
            function,
            function.input_signature,
            opset=OPSET,
            custom_op_handlers={"Erfc": (_erfc, [])},
        )
    images = network.inputs[0].dtype, network.input_shape[1:]
    try:
        return canonical(model, images, network.output["embedding"].shape[-1], description)
    except onnx.checker.ValidationError as error:
        reason = str(error).partition("\n")[0]
        raise ExportError(f"The encoder cannot be written as ONNX: {reason}") from error


@contextlib.contextmanager
def _functions_inlined():
    """While it is entered, what is traced has no functions in it: Keras has XLA compile grouped
    convolutions on a CPU, which no converter looks into."""
    former = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(former)


def _erfc(context, node, name, arguments):
    """What ONNX has no operator for, in terms of erf: the GELU of TensorFlow asks for it."""
    node.type = "Erf"
    one = context.make_const(f"{name}_one", np.array(1, np.float32))
    terms = [one.output[0], node.output[0]]
    context.insert_new_node_on_output("Sub", node.output[0], f"{name}_complement", terms)


def _function(network):
    signature = tf.TensorSpec(network.input_shape, network.inputs[0].dtype, name="images")

    @tf.function(input_signature=[signature])
    def serve(images):
        return network(images, training=False)

    return serve
