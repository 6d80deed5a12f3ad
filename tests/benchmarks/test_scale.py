"""The page of arithmetic: its tables are the script's, its sums are right, and its queues behave as queues do."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scale import __main__ as scale
from benchmarks.scale.simulation import Fleet, mean_service_ms, simulate, sojourn_times
from kdistill.errors import KdistillError

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
MEASURED = scale.Measured(
    photos_per_second=500,
    build_seconds=10,
    update_seconds=5,
    file_bytes=256,
    scan_ns=4,
    batch_ns=1,
    gib_per_second=32,
    evaluation_seconds=2,
)


def test_the_page_holds_what_the_script_computes():
    page = PAGE.read_text(encoding="utf-8")
    assert scale.fill(page, scale.tables()) == page, "run: python -m benchmarks.scale --doc=docs/scale.md"


def test_sums_are_those_of_the_figures():
    lines = [line.strip("| ").split(" | ") for line in scale.cost_table(MEASURED).splitlines()]
    costs = {line[0]: line[1:] for line in lines}
    assert costs["cost"] == ["10^6", "10^8", "10^9"]
    assert costs["embedding, one machine"] == ["33 min", "2.3 days", "23 days"]
    assert costs["vectors, float32"] == ["510 MB", "51 GB", "510 GB"]
    assert costs["one query, one machine"] == ["4.0 ms", "400 ms", "4.0 s"]
    assert costs["queries a second, one machine, 32 at once"] == ["1,000", "10", "1.0"]
    # 2**31 - 2**20 bytes hold 8,384,512 rows of 256 bytes, and 4,192,256 of 512.
    assert costs["files below 2 GiB, int8"] == ["1", "12", "120"]
    assert costs["files below 2 GiB, float32"] == ["1", "24", "239"]
    assert costs["teacher queries"] == ["330"] * 3


def test_machines_are_bought_for_time_or_for_memory():
    assert scale.machines(MEASURED, 10**6) == 1
    assert scale.machines(MEASURED, 10**9) == 40  # 4 s of scanning, 100 ms each
    slow_memory = dataclasses.replace(MEASURED, scan_ns=0.01)
    assert scale.machines(slow_memory, 10**9) == math.ceil(256e9 / (16 * 2**30))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.2, "1.2 s"),
        (0.0994, "99 ms"),
        (80, "80 s"),
        (125, "2.1 min"),
        (129_600, "36 h"),
        (4e5, "4.6 days"),
        (0, "0 µs"),
    ],
)
def test_times_are_shown_in_the_unit_that_fits(seconds, text):
    assert scale.duration(seconds) == text


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.01, 10)), min_size=1, max_size=50))
def test_a_queue_is_the_recursion_of_its_definition(steps):
    gaps, services = np.array(steps).T
    wait, expected = 0.0, []
    for number, (gap, service) in enumerate(zip(gaps, services, strict=True)):
        wait = 0.0 if number == 0 else max(0.0, wait + services[number - 1] - gap)
        expected.append(wait + service)
    np.testing.assert_allclose(sojourn_times(gaps, services), expected, atol=1e-9)


def test_one_machine_waits_as_queueing_theory_says():
    """Pollaczek and Khinchine: the mean wait is load / (1 - load) * E[S^2] / (2 E[S]); services here are lognormal."""
    rng = np.random.default_rng(0)
    load, count, sigma = 0.5, 400_000, 0.5
    services = rng.lognormal(0, sigma, count)
    mean, square = np.exp(sigma**2 / 2), np.exp(2 * sigma**2)
    times = sojourn_times(rng.exponential(mean / load, count), services)
    assert times.mean() == pytest.approx(mean + load / (1 - load) * square / (2 * mean), rel=0.02)


def test_idle_machines_without_faults_take_their_service_time():
    fleet = Fleet(7, 100.0, load=1e-6, slow_share=0, jitter=0, down_share=0)
    seen = simulate(fleet, queries=200)
    assert mean_service_ms(fleet) == 100
    assert seen.median_ms == pytest.approx(100 + fleet.network_ms + 7 * fleet.merge_us / 1000)
    assert seen.p99_ms == pytest.approx(seen.median_ms, rel=0.01)
    assert (seen.incomplete_share, seen.missing_rows_share) == (0, 0)


def test_answers_are_incomplete_as_often_as_a_machine_is_away():
    fleet = Fleet(20, 10.0, down_share=0.01)
    seen = simulate(fleet, queries=20_000)
    assert seen.incomplete_share == pytest.approx(1 - 0.99**20, abs=0.01)
    assert seen.missing_rows_share == pytest.approx(0.01, abs=0.001)
    copied = simulate(Fleet(20, 10.0, down_share=0.01, copies=2), queries=20_000)
    assert copied.incomplete_share == pytest.approx(1 - (1 - 0.01**2) ** 20, abs=0.002)
    assert copied.p99_ms < seen.p99_ms


def test_a_page_without_marks_and_missing_figures_are_told(tmp_path):
    with pytest.raises(KdistillError, match="<!-- costs -->"):
        scale.fill("a page", {"costs": "table"})
    with pytest.raises(KdistillError, match="lacks a figure"):
        scale.read_measured(tmp_path)
