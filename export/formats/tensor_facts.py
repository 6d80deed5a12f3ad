"""Names, types and shapes of the inputs and outputs of a file, and what they should be."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kdistill.errors import KdistillError

Facts = Mapping[str, tuple[str, list[int]]]
"""Names of inputs or outputs with their type and shape; an open axis is -1."""


def image_facts(batch: int, side: int, dtype: str = "uint8") -> dict[str, tuple[str, list[int]]]:
    return {"image": (dtype, [batch, side, side, 3])}


def embedding_facts(batch: int, dimension: int) -> dict[str, tuple[str, list[int]]]:
    return {"embedding": ("float32", [batch, dimension])}


def tflite_facts(details: list[dict[str, Any]]) -> Facts:
    return {entry["name"]: (np.dtype(entry["dtype"]).name, entry["shape_signature"].tolist()) for entry in details}


def named_facts(details: dict[str, dict[str, Any]]) -> Facts:
    return {name: (np.dtype(entry["dtype"]).name, entry["shape"].tolist()) for name, entry in details.items()}


def onnx_facts(values: list[Any]) -> Facts:
    types = {"tensor(float)": "float32"}
    return {
        value.name: (
            types.get(value.type, value.type.removeprefix("tensor(").removesuffix(")")),
            [side if isinstance(side, int) else -1 for side in value.shape],
        )
        for value in values
    }


def compare(name: str, what: str, found: Facts, expected: Facts) -> None:
    if found != expected:
        raise KdistillError(f"{name} came out with the {what} {_text(found)}, expected {_text(expected)}")


def _text(facts: Facts) -> str:
    return ", ".join(f"{name!r} {dtype} {shape}" for name, (dtype, shape) in facts.items()) or "none"
