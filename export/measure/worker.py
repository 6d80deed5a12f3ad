"""One latency measurement, in a process of its own so that its peak memory is the model's.

`python -m export.measure.worker MODEL PIXELS.npy THREADS WARMUP RUNS` prints one JSON object.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kdistill.console.frameworks import prepare_frameworks
from kdistill.console.quiet import quiet
from kdistill.runtimes.keras_models.keras_model import start_tensorflow
from kdistill.runtimes.opening import open_image_model
from kdistill.runtimes.tflite import open_tflite

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
    if Path(path).suffix == ".keras":
        start_tensorflow(num_threads)
    if Path(path).suffix == ".tflite":
        interpreter = open_tflite(path, num_threads=num_threads)
        if "search" in interpreter.get_signature_list():
            with quiet():
                runner = interpreter.get_signature_runner("search")
            return lambda image: runner(image=image)
        del interpreter
    model = open_image_model(path, path, num_threads=num_threads, callers=1)
    return lambda image: model.run(image.astype(model.input.dtype))


def peak_memory_mib() -> float:
    """Returns this process's largest resident size so far."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: a child starts with its parent's there.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    kibibytes = 1 if sys.platform != "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / kibibytes / 1024


if __name__ == "__main__":
    prepare_frameworks()
    main(sys.argv[1], sys.argv[2], *(int(value) for value in sys.argv[3:6]))
