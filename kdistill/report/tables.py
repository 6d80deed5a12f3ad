"""Rows of `metrics.json` as table columns: which keys are shown, under what heading, in which unit."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

DASH = "–"


def number(value: Any) -> float | None:
    """Returns a finite float, or None for anything else (missing, text, NaN, a truth value)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def ratio(value: float) -> str:
    """A quality between 0 and 1."""
    return f"{value:.3f}"


def cosine(value: float) -> str:
    """A cosine; five digits, because files differ in the fourth."""
    return f"{value:.5f}"


def count(value: float) -> str:
    """A whole number with thousands separated by a thin space."""
    return f"{round(value):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def size(value: float) -> str:
    """Bytes in decimal units."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f} B"


def milliseconds(value: float) -> str:
    """A time, to three significant digits, or to microseconds below one millisecond."""
    if value < 1:
        return f"{value:.3f} ms"
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"


def mebibytes(value: float) -> str:
    """Memory in MiB."""
    return f"{value:.0f} MiB"


@dataclasses.dataclass(frozen=True)
class Column:
    """One column: the key in the row, the heading, how a number is written, shown even when no row has it."""

    key: str
    heading: str
    written: Callable[[float], str]
    always: bool = False

    def text(self, row: Mapping[str, Any]) -> str:
        """The cell's text: a number in the column's unit, other values as they are, a dash for nothing."""
        value = row.get(self.key)
        finite = number(value)
        if finite is not None:
            return self.written(finite)
        return str(value) if isinstance(value, str) and value else DASH


MODEL_COLUMNS = (
    Column("queries", "queries spent", count, always=True),
    Column("further_questions", "further questions", count),
    Column("map", "mAP", ratio, always=True),
    Column("overlap_at_10", "overlap@10", ratio),
    Column("overlap_at_10_low", "at least", ratio),
    Column("overlap_at_10_high", "at most", ratio),
    Column("first_in_10", "first in 10", ratio),
    Column("kendall_tau_10", "Kendall's tau", ratio),
    Column("recall_at_1", "recall@1", ratio, always=True),
    Column("recall_at_5", "recall@5", ratio),
    Column("map_at_r", "mAP@R", ratio),
    Column("map_easy", "mAP easy", ratio),
    Column("map_medium", "mAP medium", ratio),
    Column("map_hard", "mAP hard", ratio),
    Column("teacher_overlap_at_10", "teacher overlap@10", ratio),
    Column("dimension", "dimension", count),
    Column("parameters", "parameters", count, always=True),
)

TRIAL_COLUMNS = (
    Column("share_of_steps", "share of its steps", "{:g}".format, always=True),
    Column("overlap_at_10", "overlap@10", ratio, always=True),
)

FILE_COLUMNS = (
    Column("bytes", "size", size, always=True),
    Column("map", "mAP, sample", ratio, always=True),
    Column("map_student", "student's, same images", ratio),
    Column("cosine_mean", "cosine, mean", cosine, always=True),
    Column("cosine_min", "cosine, lowest", cosine),
    Column("overlap_at_10", "overlap@10", ratio),
    Column("latency_ms_median", "median", milliseconds, always=True),
    Column("latency_ms_p90", "p90", milliseconds),
    Column("latency_ms_p99", "p99", milliseconds),
    Column("threads", "threads", count),
    Column("peak_memory_mib", "peak memory", mebibytes),
)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table ready to be drawn: headings, then (name, whether it is the headline's row, cells) for each row."""

    headings: list[str]
    rows: list[tuple[str, bool, list[str]]]


def make_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], headline: str | None) -> Table:
    """Returns the columns that some row has (and those always shown), missing values as dashes."""
    shown = [column for column in columns if column.always or any(row.get(column.key) is not None for row in rows)]
    return Table(
        headings=[column.heading for column in shown],
        rows=[(name_of(row), name_of(row) == headline, [column.text(row) for column in shown]) for row in rows],
    )


def student_row(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the name of the student's row that counts: its queries in the teacher's gallery, where it has such."""
    across = any(row.get("name") == "student_asymmetric" for row in rows)
    return "student_asymmetric" if across else "student"


def name_of(row: Mapping[str, Any]) -> str:
    """The row's name, or a dash."""
    return str(row.get("name") or DASH)
