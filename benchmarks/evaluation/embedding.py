"""Does the embedding job keep the cores busy? Its rate against the bare exported model's on images in memory.

    python -m benchmarks.evaluation.embedding --data_dir=PHOTOS --json=benchmarks/results/embedding.json

The job reads JPEG files, decodes and resizes them, runs the exported ONNX file and writes the matrix. The bare model is
the same file run on the same images, already decoded and resized, in the same batches: once with all cores on one
batch, once with one batch a core, and the faster counts. Runs of both take turns; medians are compared.

Figures: `rate_ratio` for a gallery-sized model (ResNet50V2 at 224 px), `rate_ratio_student` for a phone-sized student
(MobileNetV2 0.35 at 96 px). Both have random weights: a rate does not depend on them. When all cores are busy, the
ratio cannot exceed model / (model + decoding), in core time per image, which is reported as `ceiling`.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evaluation.noise_photos import write_photos
from export.formats.onnx import export_onnx
from kdistill import students
from kdistill.data.images import ImageSet, load_pixels, resize
from kdistill.data.layouts.folder import find_images
from kdistill.evaluation.embed.job import embed_to_folder
from kdistill.files.whole import write_json
from kdistill.runtimes.embedders import open_embedder
from kdistill.runtimes.onnx import open_onnx

MODELS = {
    "rate_ratio": {"backbone": "resnet50_v2", "image_size": 224},
    "rate_ratio_student": {"backbone": "mobilenet_v2", "alpha": 0.35, "image_size": 96},
}
SMOKE = {name: {"backbone": "small_cnn", "image_size": 16} for name in MODELS}


def bare_rates(model: Path, pixels: np.ndarray, batch: int) -> dict[str, Callable[[], None]]:
    """Returns the two ways to run the file on images in memory: all cores on a batch, and one batch a core."""
    cores = os.cpu_count() or 1
    session = open_onnx(model, num_threads=cores)
    embedder = open_embedder(model)
    parts = [pixels[first : first + batch] for first in range(0, len(pixels), batch)]

    def together() -> None:
        for part in parts:
            session.run(["embedding"], {"image": part})

    def side_by_side() -> None:
        with ThreadPoolExecutor(cores) as pool:
            for _ in pool.map(embedder.embed, parts):
                pass

    return {"all_cores_on_a_batch": together, "one_batch_a_core": side_by_side}


def core_seconds(work: Callable[[], Any]) -> float:
    """Returns the processor time of `work` in this process, all threads together."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(settings: dict[str, Any], images: ImageSet, batch: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Returns rates in images a second and their ratio for one model."""
    size = int(settings["image_size"])
    student = students.build(embedding_dim=128 if size > 16 else 8, **settings)
    model = folder / "student.onnx"
    export_onnx(student, model)
    pixels = load_pixels(images, size).pixels
    bare = bare_rates(model, pixels, batch)
    embedder = open_embedder(model)
    times: dict[str, list[float]] = {name: [] for name in (*bare, "job")}
    for number in range(rounds + 1):
        with tempfile.TemporaryDirectory(dir=folder) as output:

            def job(output: str = output) -> None:
                embed_to_folder(embedder, images, output, fingerprint="", batch_size=batch)

            runs: dict[str, Callable[[], None]] = {**bare, "job": job}
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                # The first round warms up: caches, memory pools, the files themselves.
                if number:
                    times[name].append(time.perf_counter() - start)
    rates = {name: len(images) / float(np.median(values)) for name, values in times.items()}
    fastest = max(rates[name] for name in bare)
    decoding = core_seconds(lambda: [resize(image.pixels(), size) for image in images]) / len(images)
    inference = core_seconds(bare["one_batch_a_core"]) / len(images)
    return {
        "model": settings,
        "ratio": rates["job"] / fastest,
        "ceiling": inference / (inference + decoding),
        "images_per_second": rates,
        "core_milliseconds_per_image": {"decoding_and_resizing": 1e3 * decoding, "inference": 1e3 * inference},
    }


def main() -> None:
    """Parses the command line, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file to write the result to")
    parser.add_argument("--data_dir", help="a folder of photos; without it, photos of 240 x 180 are made up")
    parser.add_argument("--images", type=int, default=256, help="how many of them")
    parser.add_argument("--batch", type=int, default=16, help="images in one call of the model")
    parser.add_argument("--rounds", type=int, default=3, help="timed runs of each; medians count")
    parser.add_argument("--smoke", action="store_true", help="a tiny model: shows that it runs, not how fast")
    arguments = parser.parse_args()
    count, models = (16, SMOKE) if arguments.smoke else (arguments.images, MODELS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        if not arguments.data_dir:
            write_photos(folder / "photos", count, 240, 180)
        images = find_images(arguments.data_dir or folder / "photos")
        images = images.subset(np.arange(min(count, len(images))))
        rounds = 1 if arguments.smoke else arguments.rounds
        details = {
            figure: measure(settings, images, arguments.batch, rounds, folder) for figure, settings in models.items()
        }
    result = {
        "figures": {figure: detail["ratio"] for figure, detail in details.items()},
        "images": len(images),
        "batch": arguments.batch,
        "cpus": os.cpu_count(),
        "details": details,
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        write_json(arguments.json, result)


if __name__ == "__main__":
    main()
