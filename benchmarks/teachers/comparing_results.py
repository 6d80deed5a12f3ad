"""The rows of the benchmarks of teachers that compare: kept in a CSV file, turned into figures."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from kdistill.files.whole import whole_file, write_whole

FIELDS = ("setup", "arm", "judged_on", "seed", "map", "recall_at_1", "seconds")


def figures_of(maps: dict[str, list[float]], control: str) -> dict[str, float]:
    """Returns, in mAP points, mean and deviation (n - 1) of each arm and of its difference from the control by seed."""
    figures: dict[str, float] = {}
    for arm, values in maps.items():
        points = 100 * np.asarray(values)
        figures[f"map_{arm}"], figures[f"std_{arm}"] = float(points.mean()), _deviation(points)
        if arm != control:
            gains = points - 100 * np.asarray(maps[control])
            figures[f"gain_{arm}"], figures[f"gain_std_{arm}"] = float(gains.mean()), _deviation(gains)
    return figures


def report(result: dict[str, Any], path: Path | None) -> None:
    """Prints the result, and writes it where a file is named."""
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    if path is not None:
        write_whole(path, text)


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def matches(row: dict[str, str], setup: str, judged_on: str) -> bool:
    return row["setup"] == setup and row["judged_on"] == judged_on


def read_rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    with whole_file(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
