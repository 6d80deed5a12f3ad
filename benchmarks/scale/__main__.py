"""What a gallery of 10^8 and 10^9 images costs on this design: arithmetic on the figures that were measured.

    python -m benchmarks.scale                       # prints the tables
    python -m benchmarks.scale --doc=docs/scale.md   # writes them into the page

Everything is linear in the rows, which is what the design promises; the page says where that promise ends.
"""

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.scale.simulation import Fleet, simulate
from export.formats.flatbuffer import MAX_BYTES
from kdistill.errors import KdistillError, run_command
from kdistill.files.whole import write_whole

RESULTS = Path(__file__).parents[1] / "results"
SIZES = (10**6, 10**8, 10**9)
DIMENSION = 128
SCANNED = 48
"""Coordinates that a scan of the million rows in search.json reads (`export/search/first_pass.py`)."""
K = 10
TEACHER_QUERIES = 330
"""Of `configs/grocery.flags`; the budget does not know how large the gallery is."""
PHOTO_BYTES, NAME_BYTES = 100_000, 32
LINK_BYTES_A_SECOND = 1.25e9  # 10 Gbit/s
MACHINE_GIB = 16  # of a machine's memory for its part of the gallery
TARGET_MS = 100  # for the scan of one query


@dataclasses.dataclass(frozen=True)
class Measured:
    """Figures of `benchmarks/results`, of one machine of two cores.

    Attributes:
        photos_per_second: embedded, decoding and resizing included (embedding.json, the small student).
        build_seconds, update_seconds: of an int8 retriever of a million rows (retriever_build.json).
        file_bytes: that its file holds for a row.
        scan_ns: an int8 search's time for a row, one query, from a million rows (search.json).
        batch_ns: the same for each of 32 queries at once.
        gib_per_second: that the machine reads from memory.
        evaluation_seconds: 70 queries of 512 dimensions against a million rows (evaluation.json).
    """

    photos_per_second: float
    build_seconds: float
    update_seconds: float
    file_bytes: float
    scan_ns: float
    batch_ns: float
    gib_per_second: float
    evaluation_seconds: float


def read_measured(folder: Path = RESULTS) -> Measured:
    """Returns the figures that the benchmarks wrote.

    Raises:
        KdistillError: a result is missing, or of another layout.
    """
    try:
        embedding, build, search, evaluation = (
            json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            for name in ("embedding", "retriever_build", "search", "evaluation")
        )
        million = {entry["size"]: entry for entry in search["sizes"]}[10**6]
        return Measured(
            photos_per_second=embedding["details"]["rate_ratio_student"]["images_per_second"]["job"],
            build_seconds=build["figures"]["build_seconds"] * 10**6 / build["rows"],
            update_seconds=build["figures"]["update_seconds"] * 10**6 / build["rows"],
            file_bytes=build["figures"]["file_gib"] * 2**30 / build["rows"],
            scan_ns=million["ms"]["ours_int8"],
            batch_ns=million["ms_batch_32"]["ours_int8"] / 32,
            gib_per_second=search["figures"]["read_bandwidth_gib_s"],
            evaluation_seconds={entry["rows"]: entry["seconds"] for entry in evaluation["sizes"]}[10**6],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KdistillError(f"{folder} lacks a figure ({error!r}); run the benchmarks first") from error


def machines(measured: Measured, rows: int) -> int:
    """Returns how many machines hold the int8 gallery in memory and scan it within TARGET_MS for one query."""
    by_memory = rows * measured.file_bytes / (MACHINE_GIB * 2**30)
    by_time = rows * measured.scan_ns / 1e6 / TARGET_MS
    return max(1, math.ceil(max(by_memory, by_time)))


def cost_table(measured: Measured) -> str:
    """Returns a markdown table: one line a cost, one column a gallery."""
    rows_a_shard = int(MAX_BYTES / measured.file_bytes)
    scan = measured.scan_ns / 1e9
    lines: list[tuple[str, Callable[[int], str]]] = [
        ("teacher queries", lambda rows: f"{TEACHER_QUERIES}"),
        ("teacher queries without a student", lambda rows: f"{rows:,}"),
        ("reading the photos, one link", lambda rows: duration(rows * PHOTO_BYTES / LINK_BYTES_A_SECOND)),
        ("embedding, one machine", lambda rows: duration(rows / measured.photos_per_second)),
        ("vectors, float32", lambda rows: octets(rows * DIMENSION * 4)),
        ("vectors, float16", lambda rows: octets(rows * DIMENSION * 2)),
        ("int8 retriever files (two codes and a scale a row)", lambda rows: octets(rows * measured.file_bytes)),
        ("names, in the client's memory", lambda rows: octets(rows * (sys.getsizeof("x" * NAME_BYTES) + 8))),
        ("files below 2 GiB, int8", lambda rows: f"{math.ceil(rows / rows_a_shard):,}"),
        ("files below 2 GiB, float32", lambda rows: f"{math.ceil(rows * DIMENSION * 4 / MAX_BYTES):,}"),
        ("building the files, one machine", lambda rows: duration(rows * measured.build_seconds / 1e6)),
        (
            "adding rows: one file written anew",
            lambda rows: duration(min(rows, rows_a_shard) * measured.update_seconds / 1e6),
        ),
        ("one query, one machine", lambda rows: duration(rows * scan)),
        ("of that, reading the codes", lambda rows: duration(rows * SCANNED / (measured.gib_per_second * 2**30))),
        ("queries a second, one machine, 32 at once", lambda rows: _two_digits(1e9 / (rows * measured.batch_ns))),
        (f"machines for {MACHINE_GIB} GiB and {TARGET_MS} ms", lambda rows: f"{machines(measured, rows):,}"),
        ("network, one query", lambda rows: octets(machines(measured, rows) * (4 * DIMENSION + 8 * K))),
        ("evaluation, 70 queries of 512-d", lambda rows: duration(rows * measured.evaluation_seconds / 1e6)),
    ]
    head = "| cost | " + " | ".join(f"10^{round(math.log10(rows))}" for rows in SIZES) + " |"
    body = [f"| {label} | " + " | ".join(cost(rows) for rows in SIZES) + " |" for label, cost in lines]
    return "\n".join([head, "|---|" + "---|" * len(SIZES), *body])


def simulation_table(measured: Measured) -> str:
    """Returns a markdown table of simulated fleets (see `benchmarks/scale/simulation.py` for what is assumed)."""
    lines = [
        "| rows | machines | copies | queries a second | median ms | p99 ms | incomplete answers | rows not seen |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for rows in SIZES[1:]:
        parts = machines(measured, rows)
        for copies in (1, 2):
            fleet = Fleet(parts, rows * measured.scan_ns / 1e6 / parts, copies=copies)
            seen = simulate(fleet)
            lines.append(
                f"| 10^{round(math.log10(rows))} | {parts * copies} | {copies} | {seen.queries_per_second:.2g} "
                f"| {seen.median_ms:.0f} | {seen.p99_ms:.0f} | {100 * seen.incomplete_share:.2f}% "
                f"| {100 * seen.missing_rows_share:.3f}% |"
            )
    return "\n".join(lines)


def fill(text: str, tables: dict[str, str]) -> str:
    """Returns a page with each table between its marks, `<!-- NAME -->` and `<!-- end of NAME -->`.

    Raises:
        KdistillError: a mark is missing.
    """
    for name, table in tables.items():
        start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise KdistillError(f"the page lacks the marks {start} and {end}")
        text = f"{before}{start}\n{table}\n{end}{after}"
    return text


def tables() -> dict[str, str]:
    """Returns both tables by the names of their marks."""
    measured = read_measured()
    return {"costs": cost_table(measured), "simulation": simulation_table(measured)}


def duration(seconds: float) -> str:
    """Returns a time in the largest unit of which there are at least two (of seconds: one), two digits."""
    units = (("days", 86400, 2), ("h", 3600, 2), ("min", 60, 2), ("s", 1, 1), ("ms", 1e-3, 1))
    name, unit, _ = next((entry for entry in units if seconds >= entry[1] * entry[2]), ("µs", 1e-6, 0))
    return f"{_two_digits(seconds / unit)} {name}"


def octets(count: float) -> str:
    """Returns a number of bytes in the decimal unit that fits, two digits."""
    units = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
    name, unit = next((entry for entry in units if count >= entry[1]), ("B", 1))
    return f"{_two_digits(count / unit)} {name}"


def _two_digits(value: float) -> str:
    if value <= 0:
        return "0"
    places = 1 - math.floor(math.log10(value))
    return f"{round(value, places):,.{max(0, places)}f}"


def main() -> None:
    """Prints the tables, or writes them into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--doc", type=Path, help="page whose tables are written anew")
    page = parser.parse_args().doc
    if page is None:
        print("\n\n".join(tables().values()))
    else:
        write_whole(page, fill(page.read_text(encoding="utf-8"), tables()))


if __name__ == "__main__":
    run_command(main)
