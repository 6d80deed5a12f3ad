"""A teacher that is a model which runs here: a `.keras`, `.tflite` or `.onnx` file, a SavedModel, a model in memory."""

import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from kdistill.data.images import Image
from kdistill.errors import ArgumentError, KdistillError
from kdistill.runtimes.folders import model_in
from kdistill.runtimes.image_model import Choice, ImageModel, in_batches
from kdistill.runtimes.opening import open_image_model
from kdistill.teachers.providers import fingerprint
from kdistill.teachers.providers.beside import declared_side, find_configuration
from kdistill.teachers.providers.preprocessing import choose_view, stated_recipe
from kdistill.teachers.providers.processor_config import read_recipe
from kdistill.teachers.providers.recipe import Recipe

_FEW, _ENOUGH = 4, 16
"""Different images after which answers are compared for the first time, and with which it is done."""

_COINCIDE = 0.99
"""A least cosine between answers above this says that the images made next to no difference."""


class ModelTeacher:
    """A model from one image to one vector; its answers cost nothing and are the same each time."""

    repeatable = True

    def __init__(
        self,
        model: ImageModel,
        label: str,
        *,
        name: str,
        scaling: str = "auto",
        stated: tuple[Recipe, Path] | None = None,
    ) -> None:
        """Takes an open model.

        Args:
            model: from kdistill.runtimes.
            label: what errors call it, such as "the teacher model.onnx".
            name: of its answers, with a hash of all that decides them.
            scaling: a key of preprocessing.SCALINGS, "clip", the path of a recipe, or "auto": what the configuration
                beside the model says, else the model itself.
            stated: the recipe of that path or configuration, with its file.

        Raises:
            ArgumentError: a scaling that the input cannot take, or "auto" where nothing says which.
            KdistillError: a recipe that makes squares of another size.
        """
        self.name, self.parameters = name, model.parameters
        self._label = label
        # Kernels add up in another order for other batches, and an answer must not depend, not even in its last bit, on
        # the others that it was asked with.
        self._run = in_batches(model.run, model.together if model.input.batch is None else None)
        self._shown = choose_view(model, scaling, label, stated)
        self.view = "/".join([self._shown.name, *([model.choice] if model.choice else [])])
        self._compared: dict[bytes, np.ndarray] | None = {}
        self._lock = threading.Lock()

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        """Returns float32 [n, Dt], dequantised; may be called from several threads."""
        inputs = self._shown.tensor(images)
        answers = self._run(inputs)
        with self._lock:
            self._compare(inputs, answers)
        return answers

    def _compare(self, inputs: np.ndarray, answers: np.ndarray) -> None:
        """Warns, once, where the first answers to different images nearly coincide."""
        if self._compared is None:
            return
        for image, answer in zip(inputs, answers, strict=True):
            content = image if isinstance(image, bytes) else image.tobytes()
            self._compared[content] = answer / max(float(np.linalg.norm(answer)), 1e-12)
        if len(self._compared) < _FEW:
            return
        rows = np.stack(list(self._compared.values())[:_ENOUGH])
        least = float((rows @ rows.T).min())
        if least > _COINCIDE:
            logging.warning(
                "%s gives nearly the same vector for %d different images (all cosines above %.3f): either its pixels "
                "have the wrong scale (now %s; see --teacher_scaling) or the model is constant",
                *(self._label, len(rows), np.floor(1000 * least) / 1000, self._shown.scale),
            )
        if least > _COINCIDE or len(rows) == _ENOUGH:
            self._compared = None


def open_model_teacher(
    path: Path,
    *,
    scaling: str = "auto",
    output: str | None = None,
    pooling: str = "auto",
    image_size: int | None = None,
    trust_packages: Sequence[str] = (),
) -> ModelTeacher:
    """Opens a model's file, a SavedModel folder, or a folder as it is downloaded.

    Args:
        path: of the file or folder.
        scaling: see `ModelTeacher`.
        output: name of the output that counts; None for the first that is known (see runtimes.outputs).
        pooling: of tokens and maps: "auto", "cls" or "mean" (see runtimes.outputs).
        image_size: side of the input where neither the file nor the configuration beside it says.
        trust_packages: names of packages besides Keras whose classes a `.keras` file may be made of.

    Raises:
        ArgumentError: as ModelTeacher, an output that the model lacks, a pooling that does not suit it, or another side
            than that of the model.
        KdistillError: damaged, with code of its own, or with other inputs and outputs than one image and one vector.
    """
    label = f"the teacher {path}"
    file = model_in(path, label)
    configuration = find_configuration(file)
    stated = stated_recipe(scaling, configuration)
    if stated is not None and image_size not in (None, stated[0].side):
        raise ArgumentError(
            f"{label}: {stated[1]} makes images of side {stated[0].side}, so --teacher_image_size={image_size} does "
            "not fit; leave it out, or name another way of showing photos with --teacher_scaling"
        )
    side = stated[0].side if stated else image_size
    if side is None:
        side = _side_beside(file, configuration)
    name = fingerprint.file_name(file)
    model = open_image_model(file, label, choice=Choice(output, pooling, side, tuple(trust_packages)))
    _check_side(model, image_size, label)
    return ModelTeacher(model, label, name=name, scaling=scaling, stated=stated)


def _side_beside(file: Path, configuration: Path | None) -> int | None:
    if configuration is not None:
        # Photos are shown another way, so a configuration that cannot be followed matters only for an open side.
        with contextlib.suppress(KdistillError):
            return read_recipe(configuration).side
    return declared_side(file)


def keras_teacher(
    model: Any,
    *,
    scaling: str = "auto",
    output: str | None = None,
    pooling: str = "auto",
    image_size: int | None = None,
) -> ModelTeacher:
    """Returns a Keras model in memory as a teacher; its name has a hash of its configuration and weights.

    Raises:
        ArgumentError, KdistillError: as `open_model_teacher`, where the arguments are explained too.
    """
    from kdistill.runtimes.keras_models.keras_model import open_keras_model

    label = f"the teacher model {model.name!r}"
    stated = stated_recipe(scaling, None)
    side = stated[0].side if stated else image_size
    opened = open_keras_model(model, label, Choice(output, pooling, side))
    _check_side(opened, image_size, label)
    return ModelTeacher(opened, label, name=fingerprint.model_name(model), scaling=scaling, stated=stated)


def _check_side(model: ImageModel, image_size: int | None, label: str) -> None:
    if image_size not in (None, model.input.side):
        takes = "encoded photos of any size" if model.input.encoded else f"images of side {model.input.side}"
        raise ArgumentError(f"{label} takes {takes}, so --teacher_image_size={image_size} does not fit; leave it out")
