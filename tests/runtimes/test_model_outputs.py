"""Tables of what counts among inputs, outputs and signatures, and how tokens and maps are pooled."""

import numpy as np
import pytest

from kdistill.errors import ArgumentError, KdistillError
from kdistill.runtimes.image_model import Choice
from kdistill.runtimes.inputs import Tensor, further_inputs, image_tensor, read_image_input
from kdistill.runtimes.outputs import Pooling, as_vectors, is_told, pick_output, pooling_of
from kdistill.runtimes.signatures import choose_signature

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("names", "wanted", "expected"),
    [
        (["last_hidden_state", "pooler_output"], None, "pooler_output"),
        (["pooler_output", "last_hidden_state", "image_embeds"], None, "image_embeds"),
        (["image_embeds", "embedding"], None, "embedding"),
        (["last_hidden_state", "attentions"], None, "last_hidden_state"),
        (["StatefulPartitionedCall:0"], None, "StatefulPartitionedCall:0"),
        (["embedding", "logits"], "logits", "logits"),
    ],
)
def test_which_output_counts(names, wanted, expected):
    assert pick_output(names, "m", wanted) == expected
    assert is_told(expected, names) == (len(names) > 1 and expected != "embedding")


@pytest.mark.parametrize(
    ("shape", "wanted", "channels_first", "expected"),
    [
        ((2, 5), "auto", False, None),
        ((2, 1, 5), "auto", False, None),
        ((2, 5, 1, 1), "auto", True, None),
        ((2, 197, 8), "auto", True, Pooling("cls", (1,))),  # 14 x 14 and a class token
        ((2, 201, 8), "auto", True, Pooling("cls", (1,))),  # four registers besides
        ((2, 50, 8), "auto", True, Pooling("cls", (1,))),
        ((2, 196, 8), "auto", True, Pooling("mean", (1,))),  # SigLIP
        ((2, 49, 8), "auto", True, Pooling("mean", (1,))),  # Swin
        ((2, 49, 8), "cls", True, Pooling("cls", (1,))),
        ((2, 50, 8), "mean", False, Pooling("mean", (1,))),
        ((2, 8, 7, 7), "auto", False, Pooling("mean", (2, 3))),
        ((2, 7, 7, 8), "mean", True, Pooling("mean", (1, 2))),
        ((2, 7, 7, 7), "auto", True, Pooling("mean", (2, 3))),
        ((2, 7, 7, 7), "auto", False, Pooling("mean", (1, 2))),
    ],
)
def test_how_an_output_is_pooled(shape, wanted, channels_first, expected):
    pooling = pooling_of(shape, wanted, "m", "o", channels_first=channels_first)
    assert pooling == expected
    values = RANDOM.normal(size=shape)
    naive = values.reshape(2, -1)
    if expected is not None:
        last = np.moveaxis(values, 1, -1) if expected.axes == (2, 3) else values
        rows = [image.reshape(-1, last.shape[-1]) for image in last]
        naive = np.array([row[0] if expected.kind == "cls" else sum(row) / len(row) for row in rows])
    for given in (values.astype(np.float32), values):
        answer = as_vectors(given, "m", pooling)
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, naive, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "wanted", "kind", "words"),
    [
        ((2, 5), "cls", ArgumentError, "nothing to pool"),
        ((2, 7, 7, 8), "cls", ArgumentError, "no class token"),
        ((2, 6, 7, 8), "auto", KdistillError, "not one vector an image, tokens or a square map"),
        ((2, 3, 4, 5, 6), "mean", KdistillError, "--teacher_output"),
    ],
)
def test_what_cannot_be_pooled(shape, wanted, kind, words):
    with pytest.raises(kind, match=words):
        pooling_of(shape, wanted, "m", "o")


def test_halves_are_averaged_as_floats():
    values = np.full((1, 4096, 2), 40.0, np.float16)  # their sum is no half float
    np.testing.assert_array_equal(as_vectors(values, "m", Pooling("mean", (1,))), [[40, 40]])


@pytest.mark.parametrize(
    ("signatures", "output", "expected"),
    [
        ({"serving_default": ("a",)}, None, ("serving_default", None, "")),
        ({"other": ("a",)}, None, ("other", None, "")),
        ({"other": ("a",)}, "a", ("other", "a", "")),
        ({"x": ("a",), "y": ("a",)}, None, (None, None, "")),
        ({"x": ("a",), "y": ("b",)}, "b", ("y", "b", "y:")),
        ({"x": ("a",), "y": ("a",)}, "y:a", ("y", "a", "y:")),
        ({"x": ("a",), "y": ("a",)}, "y:", ("y", None, "y:")),
        ({"x": ("a",), "y": ("a",)}, "y", ("y", None, "y:")),
        ({"x": ("a",), "serving_default": ("a", "b")}, "a", ("serving_default", "a", "")),
        ({"x": ("c",), "serving_default": ("a", "b")}, "c", ("x", "c", "x:")),
        ({"x": ("c",), "serving_default": ("a", "b")}, "nothing", ("serving_default", "nothing", "")),
        ({"serving_default": ("call:0", "b")}, "call:0", ("serving_default", "call:0", "")),
        ({}, "Identity:0", (None, "Identity:0", "")),
    ],
)
def test_which_signature_is_run(signatures, output, expected):
    assert choose_signature(signatures, output, ("serving_default",)) == expected


@pytest.mark.parametrize(
    ("shape", "name", "default", "first"),
    [
        (["batch_size", "num_channels", "height", "width"], "x", False, True),
        (["batch", "height", "width", "channels"], "x", True, False),
        (["b", "c", "height", "width"], "x", False, True),
        (["b", "height", "width", "c"], "x", True, False),
        ([None, None, None, None], "pixel_values", False, True),
        ([None, None, None, None], "pixel_values:0", False, True),
        ([None, None, None, None], "x", True, True),
        ([None, None, None, None], "x", False, False),
        ([None, None, 8, 8], "x", False, True),
        ([None, 8, 8, None], "x", True, False),
        ([None, 3, None, None], "x", False, True),
        ([None, None, None, 3], "pixel_values", True, False),
        ([-1, 1, 1, 3], "x", True, False),
    ],
)
def test_how_the_image_lies(shape, name, default, first):
    source = read_image_input("m", shape, np.float32, name=name, side=8, channels_first=default)
    assert (source.channels_first, source.side) == (first, 8)


def test_the_input_of_images_among_others():
    image = Tensor("any", ["b", 3, "h", "w"], "float32")
    others = [Tensor("input_ids", ["b", "n"], "int64"), Tensor("mask", ["b", 1, 1, 3], "bool")]
    assert image_tensor("m", [*others, image]) is image
    pixels = Tensor("pixel_values", ["b", "c", "h", "w"], "float16")
    assert image_tensor("m", [image, pixels]) is pixels
    for tensors in ([], others, [image, Tensor("other", [1, 8, 8, 3], "uint8")]):
        with pytest.raises(KdistillError, match="must have one input of shape"):
            image_tensor("m", tensors)


def test_what_further_inputs_are_fed_with():
    tensors = [
        Tensor("input_ids", ["text_batch_size", "sequence_length"], "int64"),
        Tensor("attention_mask", ["batch", 77], "int32"),
        Tensor("pixel_attention_mask", ["batch", "height", "width"], "bool"),
        Tensor("bool_masked_pos", ["batch", 49], "bool"),
        Tensor("key_padding_mask", [1, None], "bool"),
        Tensor("noise", [-1, 4], "float16"),
        Tensor("training", [], "bool"),
    ]
    values = further_inputs("m", tensors, 16)(5)
    expected = {
        "input_ids": np.zeros((5, 8), np.int64),
        "attention_mask": np.ones((5, 77), np.int32),
        "pixel_attention_mask": np.ones((5, 16, 16), bool),
        "bool_masked_pos": np.zeros((5, 49), bool),
        "key_padding_mask": np.zeros((1, 8), bool),
        "noise": np.zeros((5, 4), np.float16),
        "training": np.zeros((), bool),
    }
    assert list(values) == list(expected)
    for name, array in expected.items():
        assert values[name].dtype == array.dtype
        np.testing.assert_array_equal(values[name], array)


def test_choices_that_no_model_has():
    with pytest.raises(ArgumentError, match="unknown teacher pooling 'max'"):
        Choice(pooling="max")
    with pytest.raises(ArgumentError, match="at least 1"):
        Choice(side=0)
