"""A search spread over many machines, simulated: every query waits for the slowest machine, and some are slow.

Each machine is a queue with one server (Lindley's recursion: a query's wait is what the one before it left, less the
time between the two). A query goes to all machines at once and is answered when the last one has answered.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Fleet:
    """What is assumed of the machines that share a gallery.

    Attributes:
        machines: M, each with its own part of the rows.
        service_ms: a machine's time for its part, undisturbed.
        copies: machines that hold the same part and are all asked; the first answer counts.
        load: share of the time that a machine is busy, below 1.
        slow_share, slow_factor: answers that take longer (a page fault, a neighbour on the same host), by how much.
        jitter: standard deviation of the logarithm of all service times.
        down_share: share of the time that a machine is away.
        network_ms: there and back.
        merge_us: for the k answers of one part.
    """

    machines: int
    service_ms: float
    copies: int = 1
    load: float = 0.3
    slow_share: float = 0.001
    slow_factor: float = 10.0
    jitter: float = 0.1
    down_share: float = 0.001
    network_ms: float = 0.5
    merge_us: float = 5.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What users of a fleet see.

    Attributes:
        median_ms, p99_ms: from question to merged answer.
        incomplete_share: share of queries whose answer lacks a part because all its copies are away.
        missing_rows_share: share of all rows that a query does not see, on average.
        queries_per_second: that the fleet takes at this load.
    """

    median_ms: float
    p99_ms: float
    incomplete_share: float
    missing_rows_share: float
    queries_per_second: float


def simulate(fleet: Fleet, *, queries: int = 20_000, seed: int = 0) -> Outcome:
    """Returns what `queries` queries see, the first tenth (empty queues) left out; the same seed gives the same."""
    rng = np.random.default_rng(seed)
    arrivals = rng.exponential(mean_service_ms(fleet) / fleet.load, queries)
    slowest = np.zeros(queries)
    missing = np.zeros(queries)
    for _ in range(fleet.machines):
        first = np.full(queries, np.inf)
        for _ in range(fleet.copies):
            answered = sojourn_times(arrivals, _service_times(fleet, queries, rng))
            answered[rng.random(queries) < fleet.down_share] = np.inf
            first = np.minimum(first, answered)
        away = np.isinf(first)
        missing += away
        # A part that is away is given up on: the answer goes out without it.
        slowest = np.maximum(slowest, np.where(away, 0, first))
    total = (slowest + fleet.network_ms + fleet.machines * fleet.merge_us / 1000)[queries // 10 :]
    missing = missing[queries // 10 :]
    return Outcome(
        median_ms=float(np.median(total)),
        p99_ms=float(np.percentile(total, 99)),
        incomplete_share=float(np.mean(missing > 0)),
        missing_rows_share=float(np.mean(missing) / fleet.machines),
        queries_per_second=1000 * fleet.load / mean_service_ms(fleet),
    )


def mean_service_ms(fleet: Fleet) -> float:
    """Returns the mean of `_service_times`: a lognormal mean, and the slow answers."""
    slow = 1 + fleet.slow_share * (fleet.slow_factor - 1)
    return fleet.service_ms * float(np.exp(fleet.jitter**2 / 2)) * slow


def sojourn_times(gaps: np.ndarray, services: np.ndarray) -> np.ndarray:
    """Returns [n] times from arrival to answer in a first-come queue.

    The recursion w[i] = max(0, w[i - 1] + services[i - 1] - gaps[i]) in closed form: the running sum less its running
    minimum.

    Args:
        gaps: [n], time since the arrival before; the first is ignored.
        services: [n].
    """
    steps = np.concatenate([[0.0], services[:-1] - gaps[1:]])
    walk = np.cumsum(steps)
    return walk - np.minimum.accumulate(walk) + services


def _service_times(fleet: Fleet, queries: int, rng: np.random.Generator) -> np.ndarray:
    times = fleet.service_ms * rng.lognormal(0, fleet.jitter, queries)
    times[rng.random(queries) < fleet.slow_share] *= fleet.slow_factor
    return times
