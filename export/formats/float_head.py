"""An int8 backbone under a head in float32: pooling, projection and norm.

A generalised mean raises its input to a power: what an int8 feature map resolves around its largest values is lost
around its small ones, and the pooled vector once more rounded to 256 steps. The head costs next to nothing in time,
so it may as well stay in float32.
"""

from typing import Any

import keras
import numpy as np

from export.formats.flatbuffer import append_model
from export.formats.graph import GraphBuilder
from kdistill.errors import KdistillError

POOL = "pool"
"""Name of the layer that starts the head, as `kdistill.students` calls it."""


def split(student: Any, images: np.ndarray) -> tuple[Any, Any]:
    """Returns the Keras models before and after the feature map; the head shares its weights with the student.

    Args:
        student: a Functional model with a layer `pool`, behind which one layer follows the other.
        images: uint8 [n, H, W, 3]; one of them shows that the parts do what the whole does.

    Raises:
        KdistillError: there is no such layer, or what follows it is no chain.
    """
    names = [layer.name for layer in student.layers]
    if POOL not in names:
        raise KdistillError(f"int8_float_head needs a student with a layer named {POOL!r}; this one has none")
    chain = student.layers[names.index(POOL) :]
    backbone = keras.Model(student.input, chain[0].input)
    features = keras.Input(batch_shape=backbone.output_shape)
    embedding = features
    for layer in chain:
        embedding = layer(embedding)
    head = keras.Model(features, embedding)
    if not np.allclose(head(backbone(images[:1])), student(images[:1]), atol=1e-4):
        raise KdistillError(f"int8_float_head needs a student that is a chain of layers from {POOL!r} on")
    return backbone, head


def join(backbone: Any, head: Any) -> Any:
    """Returns one `ModelT` that runs subgraph 0 of `backbone` and feeds its output to subgraph 0 of `head`."""
    append_model(backbone, head)
    first, second = backbone.subgraphs
    builder = GraphBuilder(backbone, "main")
    builder.graph.outputs = builder.inline(second, builder.inline(first))
    backbone.subgraphs = [builder.graph]
    return backbone
