"""A teacher that is a `.tflite` file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdistill.data.images import Image
from kdistill.errors import KdistillError
from kdistill.teachers.providers import fingerprint, preprocessing


class TFLiteTeacher:
    """A LiteRT model with one input [n, S, S, 3]: float32, raw uint8, or quantised to 8 bits."""

    repeatable = True

    def __init__(self, path: Path, *, scaling: str = "none") -> None:
        """Loads the file.

        Args:
            path: the `.tflite` file.
            scaling: a key of preprocessing.SCALINGS; the scale *before* the file's own quantisation, if it has one.

        Raises:
            KdistillError: damaged, needs operators that the runtime lacks, or has other inputs.
        """
        from ai_edge_litert.interpreter import Interpreter

        label = f"the teacher {path}"
        self.name = fingerprint.file_name(path)
        try:
            self._interpreter = Interpreter(model_path=str(path))
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise KdistillError(f"{label} cannot be loaded as a TFLite model: {error}") from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(inputs[0]["shape"]) != 4 or inputs[0]["shape"][3] != 3:
            raise KdistillError(f"{label} must have one input of shape [batch, S, S, 3]; wrap any other in a function")
        tensor = inputs[0]
        size = preprocessing.square_side(int(tensor["shape"][1]), int(tensor["shape"][2]), label)
        dtype = np.dtype(tensor["dtype"])
        self._input = preprocessing.ModelInput(label, size, dtype, scaling, tensor["quantization"])
        self._index = tensor["index"]
        # Only a batch that the file leaves open can be resized.
        self._batch = None if tensor["shape_signature"][0] == -1 else int(tensor["shape"][0])
        self._output = outputs[preprocessing.pick_output([output["name"] for output in outputs], label)]
        self.view = self._input.view

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        """Returns float32 [n, Dt], dequantised."""
        inputs = self._input.tensor(images)
        if self._batch is None:
            self._interpreter.resize_tensor_input(self._index, inputs.shape)
            self._interpreter.allocate_tensors()
        answers = []
        for part, rows in preprocessing.fixed_batches(inputs, self._batch or len(inputs)):
            self._interpreter.set_tensor(self._index, part)
            self._interpreter.invoke()
            output = preprocessing.as_vectors(_dequantised(self._interpreter, self._output), self._input.model)
            answers.append(output[:rows])
        return np.concatenate(answers)


def _dequantised(interpreter: Any, details: dict[str, Any]) -> np.ndarray:
    values = interpreter.get_tensor(details["index"])
    scale, zero_point = details["quantization"]
    if values.dtype.kind not in "iu" or scale == 0:
        return values.astype(np.float32)
    return (values.astype(np.float32) - zero_point) * np.float32(scale)
