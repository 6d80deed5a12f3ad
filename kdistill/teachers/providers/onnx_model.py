"""A teacher that is an `.onnx` file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdistill.data.images import Image
from kdistill.errors import KdistillError
from kdistill.teachers.providers import fingerprint, preprocessing

_TYPES: dict[str, np.dtype] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(int8)": np.dtype(np.int8),
}


class OnnxTeacher:
    """An ONNX model with one input [n, S, S, 3] or [n, 3, S, S] of floats or uint8, run by onnxruntime."""

    repeatable = True

    def __init__(self, path: Path, *, scaling: str = "none") -> None:
        """Loads the file; which axis holds the colours is read from the input's shape.

        Raises:
            KdistillError: damaged, needs operators that the runtime lacks, or has other inputs.
        """
        import onnxruntime

        label = f"the teacher {path}"
        self.name = fingerprint.file_name(path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        # The runtime's exceptions share no base class besides Exception.
        except Exception as error:
            raise KdistillError(f"{label} cannot be loaded as an ONNX model: {error}") from error
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or 3 not in (shape[1], shape[3]) or inputs[0].type not in _TYPES:
            raise KdistillError(
                f"{label} must have one input of shape [batch, S, S, 3] or [batch, 3, S, S]; "
                "wrap any other in a function"
            )
        self._channels_first = shape[3] != 3
        sides = shape[2:] if self._channels_first else shape[1:3]
        height, width = (side if isinstance(side, int) else None for side in sides)
        size = preprocessing.square_side(height, width, label)
        self._input = preprocessing.ModelInput(label, size, _TYPES[inputs[0].type], scaling)
        self._input_name = inputs[0].name
        self._batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
        outputs = [output.name for output in self._session.get_outputs()]
        self._output = outputs[preprocessing.pick_output(outputs, label)]
        self.view = self._input.view

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        """Returns float32 [n, Dt]."""
        inputs = self._input.tensor(images)
        if self._channels_first:
            inputs = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
        answers = []
        for part, rows in preprocessing.fixed_batches(inputs, self._batch or len(inputs)):
            (output,) = self._session.run([self._output], {self._input_name: part})
            answers.append(preprocessing.as_vectors(output, self._input.model)[:rows])
        return np.concatenate(answers)
