"""What opening a teacher's table in Parquet takes: peak memory of a process, less what it had before, to the file.

python -m benchmarks.catalogue.tables write FILE --rows=1000000
python -m benchmarks.catalogue.tables open FILE --json=RESULT
"""

import argparse
import time
from pathlib import Path

import numpy as np

from kdistill.errors import run_command
from kdistill.files.whole import whole_file, write_json
from kdistill.teachers.providers.table import TableTeacher

_ROWS_A_TIME = 50_000


def write_table(path: Path, rows: int, dimension: int = 128) -> None:
    """Writes float32 [rows, dimension] with ids such as photos/000/0000000.jpg, as one row group."""
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([("id", pyarrow.string()), ("embedding", pyarrow.list_(pyarrow.float32()))])
    rng = np.random.default_rng(0)
    parts = []
    for first in range(0, rows, _ROWS_A_TIME):
        count = min(_ROWS_A_TIME, rows - first)
        values = pyarrow.array(rng.standard_normal(count * dimension, np.float32))
        edges = pyarrow.array(np.arange(count + 1, dtype=np.int32) * dimension)
        ids = [f"photos/{row // 1000:03d}/{row:07d}.jpg" for row in range(first, first + count)]
        parts.append(pyarrow.table([ids, pyarrow.ListArray.from_arrays(edges, values)], schema=schema))
    with whole_file(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.concat_tables(parts), temporary, row_group_size=rows)


def open_table(path: Path) -> dict[str, float]:
    """Returns `parquet_ratio` and what it is made of; for a process of its own."""
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401 (the library itself is none of the table's bytes)

    before, began = _memory("VmRSS"), time.perf_counter()
    teacher = TableTeacher(path)
    seconds, taken = time.perf_counter() - began, _memory("VmHWM") - before
    size = path.stat().st_size
    return {
        "parquet_ratio": taken / size,
        "file_mib": size / 2**20,
        "peak_mib": taken / 2**20,
        "open_seconds": seconds,
        "dimension": teacher.dimension,
    }


def _memory(name: str) -> int:
    """Returns a figure of this process in bytes, as the kernel tells it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    """Parses the command line, writes or opens."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["write", "open"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, help="open: file to write the result to")
    given = parser.parse_args()
    if given.action == "write":
        write_table(given.file, given.rows)
    else:
        write_json(given.json, open_table(given.file))


if __name__ == "__main__":
    run_command(main)
