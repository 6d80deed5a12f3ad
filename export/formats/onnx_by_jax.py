"""Another way from Keras to ONNX, without tf2onnx: Keras's JAX backend and jax2onnx, by which Keras exports there.

Keras has one backend in a process, so another process does it (`export.formats.onnx_by_jax_process`).
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import onnx

from export.formats.onnx_opset import lower_opset
from export.search.onnx_search import OPSET
from kdistill.errors import KdistillError
from kdistill.facts.extras import ONNX_PACKAGES, missing_of

_PACKAGES = Path(__file__).resolve().parents[2]
"""Where `export` lies."""


def converted(student: Any, batch: int | None) -> onnx.ModelProto:
    """Returns a float32 student as a graph from `image` to `embedding`.

    Args:
        student: Functional model, `image` uint8 [batch, H, W, 3] to float32 [batch, D].
        batch: a fixed number of images, or None.

    Raises:
        KdistillError: the extra `litert` is not installed, Keras is older than 3, or the network has an operation that
            JAX or ONNX lacks.
    """
    if missing := missing_of("litert", ONNX_PACKAGES):
        raise KdistillError(f"the converter litert needs {missing}")
    if not hasattr(student, "stateless_call"):
        raise KdistillError("the converter litert needs Keras 3; the converter tf takes this model")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "student.keras", Path(folder) / "student.onnx"
        student.save(source)
        module = "export.formats.onnx_by_jax_process"
        command = [sys.executable, "-m", module, str(source), str(target), str(batch or 0), *_foreign(student)]
        # Nothing is computed there but first weights, which the file's replace: XLA need not take long over them.
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()
        # It finds what this process finds, modules of the user's own in the current folder among it.
        path = os.pathsep.join(filter(None, [str(_PACKAGES), *sys.path]))
        wanted = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": path}
        done = subprocess.run(command, env={**os.environ, **wanted}, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise KdistillError(f"the model {student.name!r} cannot become ONNX: {reason.removeprefix('error: ')}")
        model = onnx.load(str(target))
    try:
        lower_opset(model, OPSET)
    except KdistillError as error:
        raise KdistillError(f"the model {student.name!r} cannot become ONNX: {error}") from error
    return model


def _foreign(student: Any) -> list[str]:
    """Returns the packages that the student's layers come from, beside Keras and this library: here they are loaded."""
    layers = student._flatten_layers()
    return sorted({type(layer).__module__.partition(".")[0] for layer in layers} - {"keras", "kdistill"})
