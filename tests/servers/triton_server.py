"""Runs in the servers' environment: Triton's own binary, from the wheel nvidia-pytriton, with an `.onnx` file.

    python triton_server.py FILE PORT FOLDER

The wheel has no backend but Python's, so that the model is `triton_encoder.py`, which runs the file.
"""

import os
import shutil
import sys
from pathlib import Path

import onnxruntime
import pytriton

CONFIGURATION = """
name: "encoder"
backend: "python"
max_batch_size: 16
input [{{ name: "pixel_values", data_type: TYPE_FP32, dims: [3, {side}, {side}] }}]
output [{{ name: "embedding", data_type: TYPE_FP32, dims: [{dimension}] }}]
instance_group [{{ kind: KIND_CPU }}]
parameters {{ key: "file", value: {{ string_value: "{file}" }} }}
"""


def main(file: Path, port: int, folder: Path) -> None:
    wheel = Path(pytriton.__file__).parent / "tritonserver"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(wheel / "backends", folder / "backends")
    stub = wheel / "python_backend_stubs" / f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(stub / "triton_python_backend_stub", folder / "backends" / "python")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    model = folder / "models" / "encoder"
    (model / "1").mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("triton_encoder.py"), model / "1" / "model.py")
    side, dimension = session.get_inputs()[0].shape[-1], session.get_outputs()[0].shape[-1]
    told = CONFIGURATION.format(side=side, dimension=dimension, file=file)
    (model / "config.pbtxt").write_text(told)
    binary = wheel / "bin" / "tritonserver"
    libraries = wheel.parent.parent / "nvidia_pytriton.libs"
    # The interpreter within the server finds its packages by the first python3 of the path.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {
        "PATH": path,
        "LD_LIBRARY_PATH": str(libraries),
    }
    options = {
        "model-repository": folder / "models",
        "backend-directory": folder / "backends",
        "http-address": "127.0.0.1",
        "http-port": port,
        "allow-grpc": "false",
        "allow-metrics": "false",
    }
    os.execve(binary, [str(binary), *(f"--{name}={value}" for name, value in options.items())], environment)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
