"""Is it worth choosing the questions? Quality of the student against the query budget, for each selection strategy.

    python -m benchmarks.teachers.selection --data_dir=DIR --json=FILE --picture=FILE -- --image_size=96 --steps=300

Runs the main job (`ask`, `distill`, `evaluate`) once for every strategy, budget and seed, each in a folder of its own
under --workdir, so that an interrupted benchmark continues where it stopped. The seed sets the student's start, the
order of the batches and the choice, and is shared by the strategies: `gain` compares runs of the same seed. `random`
is the control. Every other setting is that of the flagfile; nothing is tuned here.

Figures, of the student's mAP: `map_STRATEGY_BUDGET` (mean over seeds), `std_STRATEGY_BUDGET` (standard deviation,
n - 1), `gain_STRATEGY_BUDGET` (mean difference from `random` of the same seed) and `gain_std_STRATEGY_BUDGET`.
With --picture, mean and deviation are drawn against the budget.

To choose a default, judge on the validation list (--gallery_file=val.txt), not on the test.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from benchmarks import drawing
from kdistill.console.progress import progress_bar
from kdistill.files.whole import write_json
from kdistill.teachers import STRATEGIES

SMOKE_FLAGS = ("--backbone=small_cnn", "--student_weights=", "--image_size=32", "--steps=2", "--evaluations=1")


def run(workdir: Path, flags: list[str]) -> float:
    """Runs the main job in `workdir` (nothing that is done there is done again); returns the student's mAP."""
    wanted = [f"--workdir={workdir}", "--stages=ask,distill,evaluate", "--export_if_not_better"]
    command = [sys.executable, "-m", "main", *flags, *wanted]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(f"{' '.join(command)}\nfailed:\n{finished.stderr[-2000:]}")
    rows = json.loads((workdir / "metrics.json").read_text())["rows"]
    return next(float(row["map"]) for row in rows if row["name"] == "student")


def figures_of(maps: dict[tuple[str, int], list[float]]) -> dict[str, float]:
    """Returns the figures of (strategy, budget) -> one mAP a seed."""
    figures: dict[str, float] = {}
    for (strategy, budget), values in maps.items():
        figures[f"map_{strategy}_{budget}"] = float(np.mean(values))
        figures[f"std_{strategy}_{budget}"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        control = maps.get(("random", budget))
        if control is not None and strategy != "random":
            gains = np.subtract(values, control)
            figures[f"gain_{strategy}_{budget}"] = float(gains.mean())
            figures[f"gain_std_{strategy}_{budget}"] = float(gains.std(ddof=1)) if len(gains) > 1 else 0.0
    return figures


def draw(figures: dict[str, float], strategies: list[str], budgets: list[int], path: Path) -> None:
    """Draws mean and standard deviation of the mAP against the budget."""
    plt = drawing.pyplot()
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for strategy in strategies:
        means = [figures[f"map_{strategy}_{budget}"] for budget in budgets]
        spreads = [figures[f"std_{strategy}_{budget}"] for budget in budgets]
        axes.errorbar(budgets, means, spreads, marker="o", capsize=3, label=strategy)
    axes.set(xlabel="questions", ylabel="mAP of the student", xscale="log", xticks=budgets, xticklabels=budgets)
    axes.minorticks_off()
    axes.legend()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def write_smoke_data(folder: Path) -> list[str]:
    """Writes 24 images of four colours, their lists and a table of teacher vectors; returns the flags to use them."""
    random = np.random.default_rng(0)
    labels = np.arange(24) % 4
    colours = random.integers(0, 256, (4, 3))
    names = [f"{index}.png" for index in range(len(labels))]
    for name, label in zip(names, labels, strict=True):
        pixels = np.clip(colours[label] + random.integers(-40, 41, (32, 32, 3)), 0, 255)
        PIL.Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
    (folder / "pool.txt").write_text("\n".join(names[:16]) + "\n")
    for name in ("test.txt", "val.txt"):
        lines = [f"{image}, {label}" for image, label in zip(names[8:], labels[8:], strict=True)]
        (folder / name).write_text("\n".join(lines) + "\n")
    np.savez(folder / "teacher_expert.npz", ids=names, embeddings=np.eye(4, dtype=np.float32)[labels])
    return [f"--data_dir={folder}", *SMOKE_FLAGS]


def measure(flags: list[str], workdir: Path, strategies: list[str], budgets: list[int], seeds: int) -> dict[str, Any]:
    """Runs every combination and returns the figures with the value of each run."""
    work = [(seed, budget, strategy) for seed in range(seeds) for budget in budgets for strategy in strategies]
    maps: dict[tuple[str, int], list[float]] = {(strategy, budget): [] for budget in budgets for strategy in strategies}
    for seed, budget, strategy in progress_bar(work, description="runs", unit="run"):
        own = [f"--selection={strategy}", f"--query_budget={budget}", f"--seed={seed}"]
        maps[strategy, budget].append(run(workdir / f"{strategy}-{budget}-{seed}", [*flags, *own]))
    runs = [{"selection": strategy, "budget": budget, "maps": values} for (strategy, budget), values in maps.items()]
    return {
        "figures": figures_of(maps),
        "runs": runs,
        "seeds": seeds,
        "flags": [flag for flag in flags if not flag.startswith("--data_dir")],
    }


def main() -> None:
    """Parses the command line, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="the folder that the flagfile's lists lie in")
    parser.add_argument("--flagfile", default="configs/grocery_direct.flags", help="all other settings")
    parser.add_argument("--gallery_file", default="test.txt", help="the labelled images that are searched")
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--budgets", default="80,160,330")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workdir", type=Path, default=Path("runs/selection"), help="one folder a run is made here")
    parser.add_argument("--json", type=Path, help="file to write the result to")
    parser.add_argument("--picture", type=Path, help="where to draw quality against budget (.png, .svg)")
    parser.add_argument("--smoke", action="store_true", help="generated images, two steps: shows that it runs")
    parser.add_argument("flags", nargs="*", help="further flags of the main job, after --")
    arguments = parser.parse_args()
    strategies = arguments.strategies.split(",")
    budgets = [int(budget) for budget in arguments.budgets.split(",")]
    flags = [
        f"--flagfile={arguments.flagfile}",
        f"--gallery_file={arguments.gallery_file}",
        "--score_teacher=no",
        *arguments.flags,
    ]
    if arguments.smoke:
        with tempfile.TemporaryDirectory() as folder:
            flags += write_smoke_data(Path(folder))
            budgets = [8]
            result = measure(flags, Path(folder) / "runs", ["random", "k-center"], budgets, seeds=1)
        strategies = ["random", "k-center"]
    else:
        if arguments.data_dir is None:
            parser.error("--data_dir is needed")
        result = measure(
            [*flags, f"--data_dir={arguments.data_dir}"], arguments.workdir, strategies, budgets, arguments.seeds
        )
    print(json.dumps(result["figures"], indent=2))
    if arguments.json:
        write_json(arguments.json, result)
    if arguments.picture:
        draw(result["figures"], strategies, budgets, arguments.picture)


if __name__ == "__main__":
    main()
