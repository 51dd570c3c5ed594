"""Smaller copies of an ONNX encoder by ONNX Runtime's own tools: float16, and int8."""

import logging
import tempfile
from pathlib import Path

import onnx

from cueco_tf.export.onnx_graph import canonical


def reduce(model, precision, images):
    """Copies an encoder at another precision; inputs and outputs keep their types.

    Args:
        model: `onnx.ModelProto`, a canonical float32 encoder.
        precision: `"float16"`: weights and activations, but for the cluster's choice; or
            `"int8"`: the convolutions and the head, with ranges calibrated on `images`.
        images: `(n, height, width, channels)`, real training images.

    Returns:
        `onnx.ModelProto` in canonical form, checked in full.

    Raises:
        ValueError: for another precision.
    """
    if precision == "float16":
        reduced = _float16(model)
    elif precision == "int8":
        reduced = _int8(model, images)
    else:
        raise ValueError(f"`precision` should be float16 or int8. Received: {precision!r}")
    types = {
        value.name: value.type.tensor_type for value in (*model.graph.input, *model.graph.output)
    }
    (_, *shape), (_, dim) = (
        [axis.dim_value for axis in types[name].shape.dim] for name in ("images", "embedding")
    )
    dtype = onnx.helper.tensor_dtype_to_np_dtype(types["images"].elem_type)
    return canonical(reduced, (dtype, shape), dim, model.doc_string)


def _float16(model):
    from onnxruntime.transformers import float16

    # The length of a vector sums squares, which float16 cannot hold: what follows stays float32.
    first = next(i for i, node in enumerate(model.graph.node) if node.op_type == "ReduceSum") - 1
    keep = [node.name for node in model.graph.node[first:]]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return float16.convert_float_to_float16(copy, keep_io_types=True, node_block_list=keep)


def _int8(model, images):
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        blocks = iter([images[i : i + 64] for i in range(0, len(images), 64)])

        def get_next(self):
            block = next(self.blocks, None)
            return None if block is None else {"images": block}

    # The biases of the head and the choice of the cluster stay float32: cheap, and the clusters of
    # one image in six would change with them.
    products = [node.name for node in model.graph.node if node.op_type == "MatMul"]
    sums = [node.name for node in model.graph.node if node.op_type == "Add"]
    prepared = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it advises what is done here already
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "encoder.onnx")
            quantization.quantize_static(
                prepared,
                path,
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "Add", "MatMul"],
                nodes_to_exclude=[products[-1], *sums[-2:]],
                # Unsigned by signed is what x86 multiplies fastest; with weights of seven bits
                # the sums fit also where the processor has no VNNI instructions.
                activation_type=quantization.QuantType.QUInt8,
                reduce_range=True,
                per_channel=True,
            )
            return onnx.load(path)
    finally:
        logger.setLevel(level)
