"""Encoders with random weights, in the signatures that exporters write, and what they answer, in numpy."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PATCH = 4
"""Side of a patch of the transformers, which have D = 6, W = 5 and one class token (SigLIP's has none), to which the
mean of the patches is added: it has to tell photos apart."""

_RANDOM = np.random.default_rng(11)
EMBED = _RANDOM.normal(size=(6, 3, PATCH, PATCH)).astype(np.float32) / 8
CLASS = _RANDOM.normal(size=(1, 1, 6)).astype(np.float32)
PROJECT = _RANDOM.normal(size=(6, 5)).astype(np.float32)
WORDS = _RANDOM.normal(size=(20, 5)).astype(np.float32)

SYMBOLIC = ("batch_size", "num_channels", "height", "width")


def tokens(pixels: np.ndarray, *, class_token: bool = True, stride: int = PATCH) -> np.ndarray:
    """Returns [n, T, 6], `last_hidden_state` of float [n, S, S, 3], patch by patch, one every `stride` pixels."""
    rows = []
    for image in pixels.astype(np.float64):
        row = []
        for top in range(0, image.shape[0] - PATCH + 1, stride):
            for left in range(0, image.shape[1] - PATCH + 1, stride):
                patch = image[top : top + PATCH, left : left + PATCH].transpose(2, 0, 1)
                row.append(np.array([(patch * weights).sum() for weights in EMBED]))
        if class_token:
            row.insert(0, CLASS[0, 0] + np.mean(row, axis=0))
        rows.append(np.tanh(row))
    return np.array(rows)


def write_encoder(
    path: Path,
    outputs: dict[str, list],
    *,
    axes: tuple = SYMBOLIC,
    class_token: bool = True,
    text: bool = False,
    hidden: bool = False,
    half: str = "",
    outside: bool = False,
    channels_last: bool = False,
    name: str = "pixel_values",
    stride: int = PATCH,
) -> Path:
    """Writes a transformer as an `.onnx` file.

    Args:
        path: the file.
        outputs: name -> declared axes, in this order.
        axes: of the image.
        class_token: whether one stands before the patches.
        text: whether there are the inputs of a text encoder, as in a whole CLIP.
        hidden: whether there is a bool mask of hidden patches.
        half: "all" for float16 inputs and outputs, "weights" for float32 ones around float16 weights.
        outside: whether weights lie in `model.onnx_data` beside it.
        channels_last: whether the image is [n, S, S, 3].
        name: of the image's input.
        stride: pixels from one patch to the next.
    """
    kind = TensorProto.FLOAT16 if half == "all" else TensorProto.FLOAT
    inner = np.float16 if half else np.float32
    weights = [
        numpy_helper.from_array(value.astype(inner), key)
        for key, value in (("embed", EMBED), ("class", CLASS), ("project", PROJECT))
    ]
    weights += [numpy_helper.from_array(np.array(value, np.int64), key) for key, value in _INTEGERS.items()]
    inputs = [helper.make_tensor_value_info(name, kind, axes)]
    nodes = []
    image = name
    if channels_last:
        nodes.append(helper.make_node("Transpose", [image], ["first"], perm=[0, 3, 1, 2]))
        image = "first"
    if half == "weights":
        nodes.append(helper.make_node("Cast", [image], ["inner"], to=TensorProto.FLOAT16))
        image = "inner"
    nodes += [
        helper.make_node("Conv", [image, "embed"], ["map"], strides=[stride, stride]),
        helper.make_node("Reshape", ["map", "flat"], ["patches_first"]),
        helper.make_node("Transpose", ["patches_first"], ["patches"], perm=[0, 2, 1]),
        helper.make_node("ReduceMean", ["patches"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Add", ["class", "mean"], ["class_tokens"]),
        helper.make_node("Concat", ["class_tokens", "patches"], ["with_class"], axis=1),
        helper.make_node("Tanh", ["with_class" if class_token else "patches"], ["hidden"]),
        helper.make_node("Gather", ["hidden", "first_place"], ["pooled"], axis=1),
        helper.make_node("MatMul", ["pooled", "project"], ["projected"]),
    ]
    made = {"last_hidden_state": "hidden", "pooler_output": "pooled", "image_embeds": "projected", "feature_map": "map"}
    if text:
        inputs += [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["text_batch_size", "sequence_length"]),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["text_batch_size", "sequence_length"]),
        ]
        inputs = [inputs[1], inputs[0], inputs[2]]
        weights.append(numpy_helper.from_array(WORDS.astype(inner), "words"))
        cast = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        nodes += [
            helper.make_node("Gather", ["words", "input_ids"], ["found"]),
            helper.make_node("Cast", ["attention_mask"], ["counting"], to=cast),
            helper.make_node("Unsqueeze", ["counting", "last"], ["counting_each"]),
            helper.make_node("Mul", ["found", "counting_each"], ["attended"]),
            helper.make_node("ReduceSum", ["attended", "one"], ["summed"], keepdims=0),
            helper.make_node("ReduceSum", ["counting_each", "one"], ["number"], keepdims=0),
            helper.make_node("Div", ["summed", "number"], ["texts"]),  # 0 / 0 where nothing is attended to
            helper.make_node("Transpose", ["texts"], ["texts_turned"], perm=[1, 0]),
            helper.make_node("MatMul", ["projected", "texts_turned"], ["logits_per_image_"]),
            helper.make_node("Transpose", ["logits_per_image_"], ["logits_per_text_"], perm=[1, 0]),
        ]
        made |= {name: f"{name}_" for name in ("logits_per_image", "logits_per_text")} | {"text_embeds": "texts"}
    if hidden:
        inputs.append(helper.make_tensor_value_info("bool_masked_pos", TensorProto.BOOL, ["batch_size", 4]))
        nodes += [
            helper.make_node("Not", ["bool_masked_pos"], ["seen"]),
            helper.make_node("Cast", ["seen"], ["seen_as_number"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMin", ["seen_as_number"], ["seen_all"], axes=[1], keepdims=1),
            helper.make_node("Mul", ["pooled", "seen_all"], ["pooled_seen"]),
        ]
        made["pooler_output"] = "pooled_seen"
    for output in outputs:
        source = made.get(output, "projected")
        cast = half == "weights"
        nodes.append(helper.make_node("Cast", [source], [output], to=kind) if cast else _same(source, output))
    graph = helper.make_graph(
        nodes,
        "encoder",
        inputs,
        [helper.make_tensor_value_info(output, kind, shape) for output, shape in outputs.items()],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    if outside:
        onnx.save(model, path, save_as_external_data=True, location="model.onnx_data", size_threshold=100)
    else:
        onnx.save(model, path)
    return path


def _same(source: str, output: str) -> onnx.NodeProto:
    return helper.make_node("Identity", [source], [output])


_INTEGERS = {"flat": [0, 0, -1], "first_place": 0, "last": [-1], "one": [1]}
