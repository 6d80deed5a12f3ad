"""Rows of a mapped file: the same as of an array, and no more of them resident than are looked at."""

from pathlib import Path

import numpy as np
import pytest

from kdistill.assistant.heads import untaught
from kdistill.files.mapped import take_rows
from kdistill.files.whole import write_arrays

ROWS = np.random.default_rng(0).normal(size=(40_000, 256)).astype(np.float32)  # 41 MB


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    file = tmp_path_factory.mktemp("rows") / "rows.npy"
    np.save(file, ROWS)
    return np.load(file, mmap_mode="r")


def resident_mib() -> float:
    """Returns MiB of mapped files that stand in this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile:")) / 1024


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_rows_are_taken_in_any_order_and_more_than_once(mapped, count):
    places = np.random.default_rng(1).integers(0, len(ROWS), count)
    for rows in (mapped, ROWS):
        np.testing.assert_array_equal(take_rows(rows, places), ROWS[places])


def test_directions_of_many_rows_are_those_of_all_at_once(mapped):
    _, _, directions = np.linalg.svd(ROWS[::2].astype(np.float64), full_matrices=False)
    found = untaught(mapped, 8).projection
    np.testing.assert_allclose(np.abs(np.sum(found * directions[:8].T, axis=0)), 1, atol=1e-6)


def test_no_pass_over_a_mapped_file_leaves_it_in_memory(mapped, tmp_path):
    head = untaught(ROWS[:1000], 4)
    head.embed(ROWS[:1000])  # pages of libraries are no matter here
    before = resident_mib()
    for use in (
        lambda: head.embed(mapped),
        lambda: untaught(mapped, 4),
        lambda: take_rows(mapped, np.arange(0, len(ROWS), 3)),
        lambda: write_arrays(tmp_path / "rows.npz", rows=mapped),
    ):
        use()
        assert resident_mib() - before < 10
    with np.load(tmp_path / "rows.npz") as written:
        np.testing.assert_array_equal(written["rows"], ROWS)
