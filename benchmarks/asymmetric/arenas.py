"""The photos and the teachers of `benchmarks.asymmetric`, held in memory."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.assistant.arenas import Arena, arena
from benchmarks.methods.data import Part, cached_pixels
from kdistill import students
from kdistill.data.layouts.lists import read_list
from kdistill.errors import KdistillError
from kdistill.files.whole import whole_file
from kdistill.space.projection import Projection, fit_projection
from kdistill.teachers import open_teacher

TEACHERS = ("expert", "lite2", "pooled")
"""teacher_expert.npz, teacher_lite2.npz, and the 1,280 pooled features of MobileNetV2 1.0 at 224 pixels."""
_POOLED = "mobilenet_v2_1.00_imagenet_notop.weights.h5"


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """Photos with one teacher.

    Attributes:
        arena: the photos; the teacher's vectors in its problem are this teacher's.
        table: float32 [n, Dt] of unit length, all vectors of the teacher that there are.
    """

    arena: Arena
    table: np.ndarray

    def projection(self, answers: np.ndarray, dimension: int) -> Projection:
        """Returns the projection that a run with these answers finds; 0 keeps all dimensions."""
        return fit_projection(answers, dimension)


def scene(teacher: str, data_dir: Path, weights_dir: Path, cache: Path) -> Scene:
    """Returns the grocery photos with one of TEACHERS; images, and features that take minutes, are kept in `cache`.

    The student's photos are 128 pixels a side, the assistant (EfficientNet-Lite0) sees 192; it is no teacher's network.

    Raises:
        KdistillError: a missing file, or an unknown teacher.
    """
    if teacher not in TEACHERS:
        raise KdistillError(f"there is no teacher {teacher!r}; choose of {', '.join(TEACHERS)}")
    photos = arena("grocery_128", data_dir, weights_dir, cache)
    if teacher == "expert":
        return Scene(photos, unit(open_table(data_dir / "teacher_expert.npz")))
    if teacher == "lite2":
        table = open_teacher(str(data_dir / "teacher_lite2.npz"))
        vectors = {role: table.embed(list(read_list(data_dir, f"{role}.txt", labelled=False))) for role in _ROLES}
        return Scene(_with_teacher(photos, vectors), unit(open_table(data_dir / "teacher_lite2.npz")))
    vectors = _pooled(data_dir, weights_dir, cache)
    return Scene(_with_teacher(photos, vectors), unit(np.concatenate(list(vectors.values()))))


def generated() -> Scene:
    """Returns generated images, to see that everything runs."""
    from benchmarks.assistant.arenas import generated as generated_arena

    found = generated_arena()
    return Scene(found, unit(np.concatenate([found.problem.pool.teacher, found.problem.test.teacher])))


def unit(rows: np.ndarray) -> np.ndarray:
    """Returns float32 rows of unit length."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)


def open_table(path: Path) -> np.ndarray:
    """Returns all vectors of a table, float32 [n, Dt]."""
    with np.load(path, allow_pickle=False) as table:
        return np.asarray(table["embeddings"], np.float32)


_ROLES = ("pool", "val", "test")


def _with_teacher(photos: Arena, vectors: Mapping[str, np.ndarray]) -> Arena:
    def part(one: Part, role: str) -> Part:
        return dataclasses.replace(one, teacher=vectors[role])

    problem = photos.problem
    changed = dataclasses.replace(
        problem,
        pool=part(problem.pool, "pool"),
        validation=part(problem.validation, "val"),
        test=part(problem.test, "test"),
    )
    return dataclasses.replace(photos, problem=changed)


def _pooled(data_dir: Path, weights_dir: Path, cache: Path) -> dict[str, np.ndarray]:
    file = cache / "pooled-224.npz"
    if not file.exists():
        network = students.build(
            "mobilenet_v2", alpha=1.0, image_size=224, embedding_dim=None, weights=str(weights_dir / _POOLED)
        )
        found = {}
        for role in _ROLES:
            images = read_list(data_dir, f"{role}.txt", labelled=False)
            pixels = cached_pixels(images, 224, cache / f"{role}-224.npz")
            found[role] = np.asarray(network.predict(pixels, batch_size=32, verbose=0))
        with whole_file(file) as temporary:
            np.savez(temporary, **found)  # type: ignore[arg-type]
    with np.load(file, allow_pickle=False) as kept:
        return dict(kept)
