"""Teachers that are Keras models, in memory or in a `.keras` file, and TensorFlow SavedModels."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdistill.data.images import Image
from kdistill.errors import KdistillError
from kdistill.runtimes.keras_files import load_keras_file
from kdistill.teachers.providers import fingerprint, preprocessing

if TYPE_CHECKING:
    import keras


class KerasTeacher:
    """A Functional or Sequential Keras model with one square image input [n, S, S, 3]."""

    repeatable = True

    def __init__(self, model: "keras.Model", *, scaling: str = "none", name: str | None = None) -> None:
        """Wraps a model in memory.

        Args:
            model: built, with one input; of several outputs the one named `embedding` is used.
            scaling: a key of preprocessing.SCALINGS.
            name: None for the model's name with a hash of its weights.
        """
        label = f"the teacher model {name or model.name!r}"
        inputs = getattr(model, "inputs", None)
        if not inputs or len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[-1] != 3:
            raise KdistillError(f"{label} must have one input of shape [batch, S, S, 3]; wrap any other in a function")
        size = preprocessing.square_side(inputs[0].shape[1], inputs[0].shape[2], label)
        dtype = inputs[0].dtype if isinstance(inputs[0].dtype, str) else inputs[0].dtype.as_numpy_dtype
        self._input = preprocessing.ModelInput(label, size, np.dtype(dtype), scaling)
        # Only a Functional model can have several outputs, and only it is sure to name them.
        names = model.output_names if len(model.outputs) > 1 else ["embedding"]
        self._output = preprocessing.pick_output(names, label)
        self._model = model
        self.parameters = int(model.count_params())
        self.name = name or fingerprint.weights_name(model.name, model.get_weights())
        self.view = self._input.view

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        """Returns float32 [n, Dt]."""
        outputs = self._model.predict_on_batch(self._input.tensor(images))
        if isinstance(outputs, dict):
            outputs = list(outputs.values())
        chosen = outputs[self._output] if isinstance(outputs, list | tuple) else outputs
        return preprocessing.as_vectors(np.asarray(chosen), self._input.model)


class SavedModelTeacher:
    """A TensorFlow SavedModel folder with a `serving_default` signature of one input [n, S, S, 3]."""

    repeatable = True

    def __init__(self, path: Path, *, scaling: str = "none") -> None:
        """Loads the folder.

        Raises:
            KdistillError: damaged, without the signature, or with other inputs.
        """
        import tensorflow as tf

        label = f"the teacher {path}"
        try:
            self._loaded = tf.saved_model.load(str(path))
            signature: Callable[..., Any] = self._loaded.signatures["serving_default"]
            arguments = signature.structured_input_signature[1]  # type: ignore[attr-defined]
            outputs = signature.structured_outputs  # type: ignore[attr-defined]
        # The loader raises many kinds of errors on a damaged folder; each means the same to the user.
        except Exception as error:
            raise KdistillError(f"{label} cannot be loaded as a SavedModel: {error}") from error
        if len(arguments) != 1 or (spec := next(iter(arguments.values()))).shape.rank != 4 or spec.shape[-1] != 3:
            raise KdistillError(f"{label} must have one input of shape [batch, S, S, 3]; wrap any other in a function")
        size = preprocessing.square_side(spec.shape[1], spec.shape[2], label)
        self._input = preprocessing.ModelInput(label, size, np.dtype(spec.dtype.as_numpy_dtype), scaling)
        self._argument = next(iter(arguments))
        self._output = list(outputs)[preprocessing.pick_output(list(outputs), label)]
        self._signature = signature
        self.name = fingerprint.file_name(path)
        self.view = self._input.view

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        """Returns float32 [n, Dt]."""
        import tensorflow as tf

        outputs = self._signature(**{self._argument: tf.constant(self._input.tensor(images))})
        return preprocessing.as_vectors(outputs[self._output].numpy(), self._input.model)


def load_keras(path: Path, *, scaling: str = "none") -> KerasTeacher:
    """Loads a `.keras` file that contains nothing but Keras's and this library's own layers.

    Raises:
        KdistillError: damaged, or with code of its own (Lambda layers, classes of other modules), which is not run.
    """
    name = fingerprint.file_name(path)
    try:
        return KerasTeacher(load_keras_file(path), scaling=scaling, name=name)
    except KdistillError as error:
        raise KdistillError(f"the teacher cannot be used: {error}") from error
