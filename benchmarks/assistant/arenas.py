"""The problems of `benchmarks.assistant`: a problem of `benchmarks.methods`, and the assistant's view of its images."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.methods.data import Problem, cached_pixels, grocery
from kdistill.data import ImageSet
from kdistill.data.layouts.lists import read_list
from kdistill.stages.opening.models import SOURCE_MARGIN


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a problem is made of.

    Attributes:
        teacher: the table of its vectors.
        image_size: side of the student's input in pixels.
        network: the assistant's: a file below the folder of weights, or a backbone.
        weights: of a backbone, a file below that folder; empty for a network from a file.
        assistant_size: side of the assistant's input in pixels.
    """

    teacher: str
    image_size: int
    network: str
    weights: str
    assistant_size: int


_LITE0 = "efficientnet_lite0_imagenet_pooled.keras"
ARENAS: Mapping[str, Facts] = {
    "grocery": Facts("teacher_expert.npz", 96, _LITE0, "", 192),
    "grocery_128": Facts("teacher_expert.npz", 128, _LITE0, "", 192),
    "lite2": Facts("teacher_lite2.npz", 128, "mobilenet_v2", "mobilenet_v2_1.00_imagenet_notop.weights.h5", 160),
}
"""Name -> its facts. An assistant is never the teacher's own network: teacher_expert is a head over MobileNetV2 1.0,
teacher_lite2 one over EfficientNet-Lite2."""


@dataclasses.dataclass(frozen=True, eq=False)
class Arena:
    """A problem with the assistant's images; equal only to itself.

    Attributes:
        name: a key of ARENAS.
        problem: of `benchmarks.methods`.
        network: a file, or a backbone.
        weights: of a backbone, or None.
        image_size: S, side of the assistant's input in pixels.
        sources: uint8 [n, L, L, 3], the pool that the assistant's views are cropped from.
        seen: role ("pool", "val", "test") -> uint8 [n, S, S, 3].
    """

    name: str
    problem: Problem
    network: str
    weights: str | None
    image_size: int
    sources: np.ndarray
    seen: Mapping[str, np.ndarray]


def arena(name: str, data_dir: Path, weights_dir: Path, cache: Path) -> Arena:
    """Returns a problem; decoded images are kept in `cache`.

    Raises:
        KdistillError: a missing file.
    """
    facts = ARENAS[name]
    student_weights = str(weights_dir / "mobilenet_v2_0.35_imagenet_notop.weights.h5")
    problem = grocery(data_dir, student_weights, cache, image_size=facts.image_size, steps=None, teacher=facts.teacher)
    size = facts.assistant_size
    roles: dict[str, ImageSet] = {
        role: read_list(data_dir, f"{role}.txt", labelled=role != "pool") for role in ("pool", "val", "test")
    }
    larger = round(size * SOURCE_MARGIN)
    return Arena(
        name,
        problem,
        str(weights_dir / facts.network) if facts.network.endswith(".keras") else facts.network,
        str(weights_dir / facts.weights) if facts.weights else None,
        size,
        cached_pixels(roles["pool"], larger, cache / f"pool-{larger}.npz"),
        {role: cached_pixels(images, size, cache / f"{role}-{size}.npz") for role, images in roles.items()},
    )


def generated() -> Arena:
    """Returns generated images and a random network, to see that everything runs."""
    from benchmarks.methods.data import generated as generated_problem

    problem = generated_problem()
    seen = {"pool": problem.pool.pixels, "val": problem.validation.pixels, "test": problem.test.pixels}
    return Arena("grocery", problem, "small_cnn", None, problem.settings.student.image_size, problem.sources, seen)
