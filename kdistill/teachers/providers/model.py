"""A teacher that is a model which runs here: a `.keras`, `.tflite` or `.onnx` file, a SavedModel, a model in memory."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from kdistill.data.images import Image
from kdistill.runtimes.image_model import ImageModel, in_batches
from kdistill.runtimes.opening import open_image_model
from kdistill.teachers.providers import fingerprint
from kdistill.teachers.providers.preprocessing import ModelView, choose_scaling

_TOGETHER = 8
"""Images of one call where the model leaves that open. Kernels add up in another order for other batches, and an answer
must not depend, not even in its last bit, on how many others it was asked with."""

_FEW, _ENOUGH = 4, 16
"""Different images after which answers are compared for the first time, and with which it is done."""

_COINCIDE = 0.99
"""A least cosine between answers above this says that the images made next to no difference."""


class ModelTeacher:
    """A model from one square image to one vector; its answers cost nothing and are the same each time."""

    repeatable = True

    def __init__(self, model: ImageModel, label: str, *, name: str, scaling: str = "auto") -> None:
        """Takes an open model.

        Args:
            model: from kdistill.runtimes.
            label: what errors call it, such as "the teacher model.onnx".
            name: of its answers, with a hash of all that decides them.
            scaling: a key of preprocessing.SCALINGS, or "auto": what the model's own configuration says.

        Raises:
            ArgumentError: a scaling that the input cannot take, or "auto" where nothing says which.
        """
        self.name, self.parameters = name, model.parameters
        self._label = label
        self._run = in_batches(model.run, _TOGETHER if model.input.batch is None else None)
        self._shown = ModelView(model.input, choose_scaling(model, scaling, label))
        self.view = self._shown.name
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
            self._compared[image.tobytes()] = answer / max(float(np.linalg.norm(answer)), 1e-12)
        if len(self._compared) < _FEW:
            return
        rows = np.stack(list(self._compared.values())[:_ENOUGH])
        least = float((rows @ rows.T).min())
        if least > _COINCIDE:
            logging.warning(
                "%s gives nearly the same vector for %d different images (all cosines above %.3f): either its pixels "
                "have the wrong scale (now %s; see --teacher_scaling) or the model is constant",
                *(self._label, len(rows), np.floor(1000 * least) / 1000, self.view.rpartition("/")[2]),
            )
        if least > _COINCIDE or len(rows) == _ENOUGH:
            self._compared = None


def open_model_teacher(path: Path, *, scaling: str = "auto") -> ModelTeacher:
    """Opens a model's file or SavedModel folder.

    Raises:
        ArgumentError: as ModelTeacher.
        KdistillError: damaged, with code of its own, or with other inputs and outputs than one image and one vector.
    """
    label = f"the teacher {path}"
    name = fingerprint.file_name(path)
    return ModelTeacher(open_image_model(path, label), label, name=name, scaling=scaling)


def keras_teacher(model: Any, *, scaling: str = "auto") -> ModelTeacher:
    """Returns a Keras model in memory as a teacher; its name has a hash of its configuration and weights.

    Raises:
        ArgumentError, KdistillError: as `open_model_teacher`.
    """
    from kdistill.runtimes.keras_model import open_keras_model

    label = f"the teacher model {model.name!r}"
    return ModelTeacher(open_keras_model(model, label), label, name=fingerprint.model_name(model), scaling=scaling)
