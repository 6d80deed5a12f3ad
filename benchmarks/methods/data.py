"""The problems of `benchmarks.methods`, decoded once and held in memory."""

import dataclasses
import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from kdistill.data import ImageSet, load_pixels
from kdistill.data.layouts.lists import read_list
from kdistill.errors import KdistillError
from kdistill.files.whole import sha256_of, whole_file
from kdistill.settings import Settings
from kdistill.stages.opening.models import SOURCE_MARGIN
from kdistill.teachers import open_teacher

_BATCH = 256
SHARED_SETTINGS = (
    "alpha", "anchors", "augment", "backbone", "bank_size", "batch_size", "embedding_dim", "freeze_batch_norm",
    "hash_bits", "hash_distillation", "hash_quantisation", "image_size", "joint_space", "mixing", "mixing_alpha",
    "mixtures", "optimizer", "pairing", "pooling", "rank_against", "rank_parents", "renormalise", "selection", "steps",
    "whiten_teacher",
)  # fmt: skip
"""What all methods of a problem share; finished runs are told from others by their values."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Images in one role.

    Attributes:
        pixels: uint8 [n, S, S, 3], S the side of the student's input.
        labels: int64 [n], classes.
        teacher: float32 [n, Dt], the teacher's vectors. Those of `validation` and `test` only score the teacher.
    """

    pixels: np.ndarray
    labels: np.ndarray
    teacher: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """One data set with its teacher and its student; equal only to itself.

    Attributes:
        name: of the problem.
        settings: of the student and its training, the same for every method.
        learning_rates: of the grid.
        pool: images to learn from.
        sources: uint8 [n, L, L, 3], the pool at the size that augmented views are cropped from.
        validation: images to choose learning rates and strengths by.
        test: images to judge by.
    """

    name: str
    settings: Settings
    learning_rates: tuple[float, ...]
    pool: Part
    sources: np.ndarray
    validation: Part
    test: Part

    def training_settings(self) -> dict[str, Any]:
        """Returns the settings that all methods share, without those that a run sets and without paths."""
        return {name: self.settings.value(name) for name in SHARED_SETTINGS}

    def setup(self, ignored: Collection[str] = (), **facts: Any) -> str:
        """Returns 12 hex digits that change with the data, the student's weights, the shared settings and `facts`.

        Args:
            ignored: settings that do not matter.
            **facts: more that matters, as JSON knows it.
        """
        weights = self.settings.student.student_weights
        known = sha256_of(weights) if weights and Path(weights).is_file() else weights
        settings = {name: value for name, value in self.training_settings().items() if name not in ignored}
        digest = hashlib.sha256(json.dumps({**settings, **facts, "weights": known}, sort_keys=True).encode())
        for part in (self.pool, self.validation, self.test):
            digest.update(np.ascontiguousarray(part.labels, np.int64).tobytes())
            digest.update(np.ascontiguousarray(part.teacher, np.float32).tobytes())
        return digest.hexdigest()[:12]


def source_size(settings: Settings) -> int:
    """Returns the side in pixels that the main job reads training images at."""
    return (
        round(settings.student.image_size * SOURCE_MARGIN) if settings.training.augment else settings.student.image_size
    )


def cached_pixels(images: ImageSet, size: int, file: Path) -> np.ndarray:
    """Returns uint8 [n, size, size, 3], from `file` (.npz) where it holds these images, else decoded and kept there.

    Raises:
        KdistillError: an unreadable image.
    """
    ids = np.array(images.ids)
    if file.exists():
        with np.load(file, allow_pickle=False) as kept:
            if np.array_equal(kept["ids"], ids) and kept["pixels"].shape[1] == size:
                return np.asarray(kept["pixels"])
    pixels = load_pixels(images, size, strict=True, description=f"reading {file.stem}").pixels
    with whole_file(file) as temporary:
        np.savez(temporary, ids=ids, pixels=pixels)
    return pixels


def grocery(
    data_dir: Path,
    weights: str | None,
    cache: Path,
    *,
    image_size: int | None,
    steps: int | None,
    teacher: str = "teacher_expert.npz",
) -> Problem:
    """Returns the Grocery Store Dataset with its expert teacher (`benchmarks.teachers.expert`).

    Args:
        data_dir: with train.txt, pool.txt, val.txt, test.txt, teacher_expert.npz and the photos.
        weights: of MobileNetV2 0.35 without its top: a `.weights.h5` file or "imagenet".
        cache: folder for decoded images.
        image_size: side of the student's input in pixels; None for 96.
        steps: of each training; None for 300.
        teacher: the table of its vectors.

    Raises:
        KdistillError: a missing file, or an image of the pool that train.txt gives no label.
    """
    settings = Settings.of(
        backbone="mobilenet_v2",
        alpha=0.35,
        image_size=image_size or 96,
        embedding_dim=128,
        student_weights=weights,
        freeze_batch_norm=True,
        steps=steps or 300,
        batch_size=32,
        augment=True,
    )
    train = read_list(data_dir, "train.txt", labelled=True)
    labels = dict(zip(train.ids, np.asarray(train.labels).tolist(), strict=True))
    unlabelled = read_list(data_dir, "pool.txt", labelled=False)
    strangers = [name for name in unlabelled.ids if name not in labels]
    if strangers:
        raise KdistillError(f"{data_dir / 'train.txt'} has no label for {strangers[0]!r} of pool.txt")
    images = {
        "pool": ImageSet(list(unlabelled), [labels[name] for name in unlabelled.ids]),
        "val": read_list(data_dir, "val.txt", labelled=True),
        "test": read_list(data_dir, "test.txt", labelled=True),
    }
    table = open_teacher(str(data_dir / teacher))

    def part(role: str) -> Part:
        chosen = images[role]
        batches = [chosen[start : start + _BATCH] for start in range(0, len(chosen), _BATCH)]
        return Part(
            cached_pixels(chosen, settings.student.image_size, cache / f"{role}-{settings.student.image_size}.npz"),
            np.asarray(chosen.labels),
            np.concatenate([table.embed(batch) for batch in batches]),
        )

    larger = source_size(settings)
    sources = cached_pixels(images["pool"], larger, cache / f"pool-{larger}.npz")
    rates = (1e-4, 2e-4, 4e-4)
    return Problem("grocery", settings, rates, part("pool"), sources, part("val"), part("test"))


def generated() -> Problem:
    """Returns a problem of 40 generated images in four colours, to see that everything runs."""
    settings = Settings.of(backbone="small_cnn", image_size=16, embedding_dim=8, steps=2, batch_size=4, mixtures=8)
    random = np.random.default_rng(0)
    labels = np.arange(40) % 4
    colours = random.integers(40, 216, (4, 1, 1, 3))

    def pixels(rows: slice, size: int) -> np.ndarray:
        noise = np.random.default_rng(size).integers(-40, 41, (len(labels), size, size, 3))
        return (colours[labels] + noise).astype(np.uint8)[rows]

    vectors = np.eye(4, 6)[labels] + 0.1 * random.standard_normal((len(labels), 6))
    roles = (slice(0, 16), slice(16, 28), slice(28, 40))
    pool, validation, test = (Part(pixels(rows, 16), labels[rows], vectors[rows].astype(np.float32)) for rows in roles)
    sources = pixels(roles[0], source_size(settings))
    return Problem("generated", settings, (1e-3,), pool, sources, validation, test)
