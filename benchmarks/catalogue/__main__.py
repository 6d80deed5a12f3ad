"""What does a catalogue cost on one small machine: time, memory and disk of a whole run, by the number of photos?

    python -m benchmarks.catalogue --photos=DIR --weights_dir=DIR --json=benchmarks/results/catalogue.json

DIR of --photos holds public photos at any depth, of which the catalogues are made (benchmarks/catalogue/photos.py); the
other one the published weights. A run asks about a fifth of the pool from a table, lets an assistant answer for the
rest (a head over the frozen features of EfficientNet-Lite0), distils into MobileNetV2 0.35 at 128 pixels, evaluates on
a fifth as many other photos, exports and reports. The table is of the model in --teacher, or of the colours of 8 x 8
pixels, which cost nothing and leave the other stages as they are.

Everything that is made or measured stays in --workdir: the same command goes on where it was interrupted. Figures, of
the largest catalogue where there are several:

    peak_gib           the most memory of any process
    memory_growth_mib  that, less the same of the next smaller catalogue
    first_step_s       from the start of the stage distill to the end of the first step
    rate_from_disk     training rate with decoded photos on the disk, as a share of that with all in memory
    rate_decoding      the same, with every photo decoded anew
    parquet_ratio      peak memory of opening a table of a million vectors of 128 dimensions, to its bytes
    worst_exponent     of the stages' processor time in the number of photos, between the two largest catalogues
    NAME_share         of the time of the whole run, for each stage
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.catalogue.data import make_catalogue
from benchmarks.catalogue.runs import Plan, run_catalogue
from benchmarks.evaluation.noise_photos import write_photos
from kdistill.errors import ArgumentError, run_command
from kdistill.files.whole import read_json_object, write_json

TINY_FLAGS = (
    "--backbone=small_cnn",
    "--image_size=128",
    "--embedding_dim=16",
    "--assistant_backbone=small_cnn",
    "--assistant_image_size=32",
    "--assistant_training=head",
    "--assistant_if_better=false",
    "--assistant_steps=5",
    "--steps=6",
    "--batch_size=8",
    "--evaluations=2",
    "--gallery_precision=int8",
    "--max_memory_mb=16",  # less than the decoded photos take
)


def main() -> None:
    """Parses the command line, runs what is left, writes."""
    given = _parser().parse_args()
    if given.smoke:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "sources").mkdir()
            write_photos(folder / "sources", 6, 120, 90)
            found = _measured(folder / "sources", None, [240], Plan(TINY_FLAGS, together=True), folder, tiny=True)
    else:
        if given.photos is None or given.weights_dir is None:
            raise ArgumentError(
                "--photos and --weights_dir are needed: the folders of public photos and of the weights"
            )
        sizes = sorted({int(size) for size in given.sizes.split(",")})
        flags = _flags(given.weights_dir, given.steps, given.assistant_image_size)
        found = _measured(given.photos, given.teacher, sizes, Plan(flags), given.workdir, tiny=False)
    print(json.dumps(found["figures"], indent=2))
    if given.json:
        write_json(given.json, found)


def _measured(
    sources: Path, teacher: Path | None, sizes: list[int], plan: Plan, folder: Path, *, tiny: bool
) -> dict[str, Any]:
    runs = {}
    for size in sizes:
        catalogue = make_catalogue(sources, folder / "catalogue", size, teacher=teacher, long_side=96 if tiny else 480)
        runs[size] = run_catalogue(catalogue, plan, folder)
    rates = _once(folder / "rates.json", lambda file: _rates(file, folder, sizes[0], tiny))
    parquet = _once(folder / "parquet.json", lambda file: _parquet(file, folder, 20_000 if tiny else 1_000_000))
    return {"figures": figures_of(runs, rates, parquet), "runs": runs, "rates": rates, "parquet": parquet}


def figures_of(runs: dict[int, dict[str, Any]], rates: dict[str, Any], parquet: dict[str, Any]) -> dict[str, float]:
    """Returns the figures from what was measured (see the module's text)."""
    sizes = sorted(runs)
    stages = runs[sizes[-1]]
    peaks = [max(stage.get("peak_gib", 0.0) for stage in runs[size].values()) for size in sizes]
    whole = sum(stage["seconds"] for stage in stages.values())
    figures = {
        "photos": sizes[-1],
        "peak_gib": peaks[-1],
        "first_step_s": stages["distill"]["first_step_s"],
        "rate_from_disk": rates["rate_from_disk"],
        "rate_decoding": rates["rate_decoding"],
        "parquet_ratio": parquet["parquet_ratio"],
        "seconds": whole,
        "photos_gb": stages["distill"]["photos_gb"],
        **{f"{name}_share": stage["seconds"] / whole for name, stage in stages.items()},
    }
    if len(sizes) > 1:
        small, large = sizes[-2:]
        figures["memory_growth_mib"] = 1024 * (peaks[-1] - peaks[-2])
        figures["worst_exponent"] = max(
            math.log(after["cpu_seconds"] / runs[small][name]["cpu_seconds"]) / math.log(large / small)
            for name, after in stages.items()
        )
    return figures


def _rates(file: Path, folder: Path, size: int, tiny: bool) -> None:
    kept = folder / "rates"
    few = ["--photos=40", "--steps=2", "--rounds=1", "--size=32"] if tiny else []
    _python(
        "benchmarks.catalogue.rates",
        f"--data_dir={folder / 'catalogue'}",
        f"--list=pool-{size}.txt",
        f"--kept={kept}",
        f"--json={file}",
        *few,
    )
    shutil.rmtree(kept)


def _parquet(file: Path, folder: Path, rows: int) -> None:
    table = folder / "table.parquet"
    _python("benchmarks.catalogue.tables", "write", str(table), f"--rows={rows}")
    _python("benchmarks.catalogue.tables", "open", str(table), f"--json={file}")
    table.unlink()


def _python(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], check=True)


def _once(file: Path, make: Any) -> dict[str, Any]:
    if not file.exists():
        make(file)
    return read_json_object(file)


def _flags(weights: Path, steps: int, assistant_side: int) -> tuple[str, ...]:
    return (
        "--backbone=mobilenet_v2",
        "--alpha=0.35",
        "--image_size=128",
        "--embedding_dim=128",
        f"--student_weights={weights / 'mobilenet_v2_0.35_imagenet_notop.weights.h5'}",
        "--freeze_batch_norm=true",
        f"--assistant_backbone={weights / 'efficientnet_lite0_imagenet_pooled.keras'}",
        f"--assistant_image_size={assistant_side}",
        "--assistant_training=head",
        "--assistant_if_better=false",
        "--learning_rate=4e-4",
        f"--steps={steps}",
        "--mixtures=64",
        "--gallery_precision=int8",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.catalogue",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=Path, help="file to write the result to")
    parser.add_argument("--photos", type=Path, help="folder of public photos")
    parser.add_argument("--weights_dir", type=Path, help="folder of the published weights")
    parser.add_argument("--teacher", type=Path, help="a model that answers; without it, colours of 8 x 8 pixels")
    parser.add_argument("--sizes", default="1000,10000,100000", help="photos of the catalogues")
    parser.add_argument("--steps", type=int, default=1000, help="training steps")
    parser.add_argument("--assistant_image_size", type=int, default=192, help="side of the assistant's input")
    parser.add_argument("--workdir", type=Path, default=Path("runs/catalogue"), help="folder of all that is made")
    parser.add_argument("--smoke", action="store_true", help="tiny: shows that it runs, not what it costs")
    return parser


if __name__ == "__main__":
    run_command(main)
