"""Writes a student's `.keras` file as ONNX by Keras's JAX backend; see `export.formats.onnx_by_jax`.

`python -m export.formats.onnx_by_jax_process STUDENT.keras OUT.onnx BATCH [PACKAGE ...]`, with KERAS_BACKEND=jax.
BATCH 0 leaves the axis open; packages are those besides Keras whose classes the file may be made of.
"""

import sys
from typing import Any

from kdistill.errors import run_command
from kdistill.runtimes.keras_models.keras_files import load_keras_file

_REDUCTIONS_TAKE_AXES = 18
"""The oldest opset that jax2onnx writes valid files of."""


def main() -> None:
    """Loads, traces, writes."""
    source, target, batch, *trusted = sys.argv[1:]
    student = load_keras_file(source, trusted)
    import jax
    import jax2onnx

    def embed(image: Any) -> Any:
        return student(image, training=False)

    image = jax.ShapeDtypeStruct((int(batch) or "batch", *student.input_shape[1:]), "uint8")
    jax2onnx.to_onnx(
        embed,
        inputs=[image],
        input_names=["image"],
        output_names=["embedding"],
        opset=_REDUCTIONS_TAKE_AXES,
        return_mode="file",
        output_path=target,
    )


if __name__ == "__main__":
    run_command(main)
