"""One latency measurement, in a process of its own so that its peak memory is the model's.

`python -m export.measure.worker MODEL PIXELS.npy THREADS WARMUP RUNS` prints one JSON object.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Run = Callable[[np.ndarray], object]


def main(model: str, pixels: str, num_threads: int, warmup_runs: int, num_runs: int) -> None:
    """Runs the model on one image after the other and prints the milliseconds of each run."""
    images = np.load(pixels)
    before = peak_memory_mib()
    run = open_model(model, num_threads)
    times = []
    for index in range(warmup_runs + num_runs):
        image = images[index % len(images)][None]
        start = time.perf_counter()
        run(image)
        times.append(1000 * (time.perf_counter() - start))
    result = {"ms": times[warmup_runs:], "peak_memory_mib": peak_memory_mib(), "memory_before_mib": before}
    print(json.dumps(result))


def open_model(path: str, num_threads: int) -> Run:
    """Returns a function that runs one image through a .tflite (by `search` where it has one), .onnx or .keras file.

    Foreign files are taken as they are: one input, whose type the image is cast to.
    """
    suffix = Path(path).suffix
    if suffix == ".tflite":
        return _tflite(path, num_threads)
    if suffix == ".onnx":
        return _onnx(path, num_threads)
    return _keras(path, num_threads)


def peak_memory_mib() -> float:
    """Returns this process's largest resident size so far."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: a child starts with its parent's there.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    kibibytes = 1 if sys.platform != "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / kibibytes / 1024


def _tflite(path: str, num_threads: int) -> Run:
    from kdistill.runtimes.opening import open_tflite

    interpreter = open_tflite(path, num_threads=num_threads)
    if "search" in interpreter.get_signature_list():
        runner = interpreter.get_signature_runner("search")
        return lambda image: runner(image=image)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    result = interpreter.get_output_details()[0]["index"]

    def run(image: np.ndarray) -> object:
        interpreter.set_tensor(source["index"], image.astype(source["dtype"]))
        interpreter.invoke()
        return interpreter.get_tensor(result)

    return run


def _onnx(path: str, num_threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    dtype = np.uint8 if "uint8" in source.type else np.float32
    return lambda image: session.run(None, {source.name: image.astype(dtype)})


def _keras(path: str, num_threads: int) -> Run:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from kdistill.console.quiet import quiet

    with quiet():
        import keras
        import tensorflow as tf

        import kdistill.layers  # noqa: F401 (registers the layers of saved students)

        tf.config.threading.set_intra_op_parallelism_threads(num_threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        model = keras.models.load_model(path, compile=False)
    compiled = tf.function(lambda image: model(image, training=False))
    dtype = model.inputs[0].dtype
    return lambda image: np.asarray(compiled(tf.cast(image, dtype)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *(int(value) for value in sys.argv[3:6]))
