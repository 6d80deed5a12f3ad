"""The result in one look, and which of the files to ship."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from kdistill.report import tables
from kdistill.report.tables import number

QUALITY_ROWS = ("untouched", "student", "teacher")

EQUALLY_FAST = 0.05
"""Medians this close (a share of the least one) count as equal: two measurements of one file differ so much."""

RULE = (
    "The file to ship: of the student's files that pass the quality gate the fastest on this machine, "
    f"and of those within {EQUALLY_FAST:.0%} of it the smallest."
)


@dataclasses.dataclass(frozen=True)
class Headline:
    """The result in one look.

    Attributes:
        bars: (name, text, width in percent) of the quality of untouched, student and teacher.
        measure: what the bars show.
        sentence: the result in words.
        tiles: (figure, what it is) beside the bars.
        rule: how the file of the tiles was chosen; empty where there is none.
    """

    bars: list[tuple[str, str, float]]
    measure: str
    sentence: str
    tiles: list[tuple[str, str]]
    rule: str


def make_headline(rows: Sequence[Mapping[str, Any]], file: Mapping[str, Any] | None) -> Headline:
    """Returns the headline from the rows of models and the file that is shown for size and latency."""
    named = {str(row.get("name")): row for row in rows}
    named["student"] = named.get(tables.student_row(rows), {})
    measure, what = headline_measure(rows)
    quality = {name: number(named.get(name, {}).get(measure)) for name in QUALITY_ROWS}
    bars = [(name, tables.ratio(value), round(100 * value, 1)) for name, value in quality.items() if value is not None]
    student, untouched, teacher = quality["student"], quality["untouched"], quality["teacher"]
    parts = []
    if student is not None and teacher:
        parts.append(f"The student reaches {student / teacher:.0%} of the teacher's {what}")
    elif student is not None:
        parts.append(f"The student reaches {what} {tables.ratio(student)}")
    if student is not None and untouched is not None:
        side = "above" if student >= untouched else "below"
        parts.append(f"{abs(student - untouched):.3f} {side} the same network before distillation")
    sentence = ", ".join(parts) + "." if parts else ""
    file = file or {}
    return Headline(
        bars=bars,
        measure=what,
        sentence=sentence,
        tiles=[
            (tables.MODEL_COLUMNS[0].text(named.get("student", {})), "queries to the teacher"),
            (tables.FILE_COLUMNS[0].text(file), f"in {tables.name_of(file)}" if file else "on the device"),
            (_latency(file), "for one image, median"),
        ],
        rule=rule_of(file),
    )


def headline_measure(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Returns the key of the measure that the headline shows, and its name: mAP, or without labels the agreement."""
    if any(number(row.get("map")) is not None for row in rows):
        return "map", "mAP"
    if any(number(row.get("overlap_at_10")) is not None for row in rows):
        return "overlap_at_10", "overlap@10 with the teacher"
    return "map", "mAP"


def file_to_ship(files: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Returns the row of the file to ship, or None when no file of the student passes the gate.

    `RULE` says how: `passed`, then the least `latency_ms_median`, then the fewest `bytes`. Files without a time
    come after those with one. The Keras model is no file for a device; a retriever holds a gallery beside the student.
    """
    good = [
        row
        for row in files
        if row.get("passed")
        and number(row.get("bytes")) is not None
        and PurePath(tables.name_of(row)).suffix in (".tflite", ".onnx")
        and not tables.name_of(row).startswith("retriever")
    ]
    times = [time for row in good if (time := number(row.get("latency_ms_median"))) is not None]
    if times:
        limit = min(times) * (1 + EQUALLY_FAST)
        good = [row for row in good if (time := number(row.get("latency_ms_median"))) is not None and time <= limit]
    return min(good, key=lambda row: row["bytes"], default=None)


def rule_of(file: Mapping[str, Any] | None) -> str:
    """Returns how the file to ship was chosen, in a sentence; empty where there is none."""
    if not file:
        return ""
    if number(file.get("latency_ms_median")) is None:
        return "The file to ship: of the student's files that pass the quality gate the smallest; none was timed."
    return RULE


def _latency(file: Mapping[str, Any]) -> str:
    value = number(file.get("latency_ms_median"))
    return tables.DASH if value is None else tables.milliseconds(value)
