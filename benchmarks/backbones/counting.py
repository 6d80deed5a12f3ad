"""The multiply-adds of a network, from the operators of its graph: transformers and inner networks count as well."""

import math

import keras
import tensorflow as tf


def multiply_adds(model: keras.Model) -> int:
    """Returns the multiply-adds of one image, each counted once.

    Of convolutions and products of matrices, those of attention included; biases, normalisations, activations and
    pooling are not counted, as in `kdistill.compression.count_flops`.

    Args:
        model: from images [B, S, S, 3] of a fixed size.
    """
    signature = tf.TensorSpec((1, *model.input_shape[1:]), model.inputs[0].dtype)
    graph = tf.function(lambda images: model(images, training=False)).get_concrete_function(signature).graph
    return _products_in(graph)


def _products_in(graph: tf.Graph) -> int:
    return sum(_products(operation) for operation in graph.get_operations())


def _products(operation: tf.Operation) -> int:
    if operation.type in ("PartitionedCall", "StatefulPartitionedCall"):
        # Keras compiles convolutions in groups, as ConvNeXt has them, into functions of their own.
        return _products_in(operation.graph._get_function(operation.get_attr("f").name).graph)
    if operation.type in ("Conv2D", "DepthwiseConv2dNative"):
        height, width, channels, _ = operation.inputs[1].shape
        shared = channels if operation.type == "Conv2D" else 1
        return int(math.prod(operation.outputs[0].shape)) * height * width * shared
    if operation.type in ("MatMul", "BatchMatMulV2"):
        turned = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
        return int(math.prod(operation.outputs[0].shape)) * operation.inputs[0].shape[-2 if turned else -1]
    if operation.type == "Einsum":
        terms = operation.get_attr("equation").decode().partition("->")[0].split(",")
        pairs = zip(terms, operation.inputs, strict=True)
        return math.prod(
            {axis: size for term, value in pairs for axis, size in zip(term, value.shape, strict=True)}.values()
        )
    return 0
