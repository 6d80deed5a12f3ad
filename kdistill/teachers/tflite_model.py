"""A teacher that is a `.tflite` file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdistill.data.images import Image
from kdistill.errors import KdistillError
from kdistill.teachers import fingerprint, preprocessing


class TFLiteTeacher:
    """A LiteRT model with one input [n, S, S, 3]: float32, raw uint8, or quantised to 8 bits."""

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
        self._input = inputs[0]
        self._output = outputs[preprocessing.pick_output([output["name"] for output in outputs], label)]
        self._size = preprocessing.square_side(int(self._input["shape"][1]), int(self._input["shape"][2]), label)
        # Only a batch that the file leaves open can be resized.
        self._open_batch = self._input["shape_signature"][0] == -1
        self.view = preprocessing.view_id(self._size, scaling)
        self._scaling, self._label = scaling, label
        self._prepare(np.zeros((1, self._size, self._size, 3), np.uint8))

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        """Returns float32 [n, Dt], dequantised."""
        inputs = self._prepare(preprocessing.model_pixels(images, self._size))
        index = self._input["index"]
        batch = len(inputs) if self._open_batch else int(self._input["shape"][0])
        if self._open_batch:
            self._interpreter.resize_tensor_input(index, inputs.shape)
            self._interpreter.allocate_tensors()
        answers = []
        for part, rows in preprocessing.fixed_batches(inputs, batch):
            self._interpreter.set_tensor(index, part)
            self._interpreter.invoke()
            output = preprocessing.as_vectors(_dequantised(self._interpreter, self._output), self._label)
            answers.append(output[:rows])
        return np.concatenate(answers)

    def _prepare(self, pixels: np.ndarray) -> np.ndarray:
        dtype = np.dtype(self._input["dtype"])
        scale, zero_point = self._input["quantization"]
        if dtype.kind not in "iu" or scale == 0:
            return preprocessing.scaled(pixels, self._scaling, dtype, self._label)
        real = preprocessing.SCALINGS[self._scaling](pixels)
        limits = np.iinfo(dtype)
        return np.clip(np.round(real / scale) + zero_point, limits.min, limits.max).astype(dtype)


def _dequantised(interpreter: Any, details: dict[str, Any]) -> np.ndarray:
    values = interpreter.get_tensor(details["index"])
    scale, zero_point = details["quantization"]
    if values.dtype.kind not in "iu" or scale == 0:
        return values.astype(np.float32)
    return (values.astype(np.float32) - zero_point) * np.float32(scale)
