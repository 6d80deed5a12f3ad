"""Real processes: killed at random moments, and many on one budget."""

import collections
import multiprocessing
import random
import time
from pathlib import Path

import asking_process
import numpy as np
import pytest

from kdistill.teachers import Ledger
from kdistill.teachers.ledger.transfer import verify

pytestmark = pytest.mark.long

KILLS, BATCH = 60, 3


@pytest.fixture(scope="module")
def processes():
    # The fork server imports the library once; each process is then forked from it within milliseconds.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["asking_process"])
    return context


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    asking_process.write_images(folder, 2000)
    return folder


def counted(path: Path) -> collections.Counter:
    return collections.Counter(path.read_text().split())


def wait_for_growth(path: Path, process) -> None:
    size = path.stat().st_size if path.exists() else 0
    while process.is_alive() and (path.stat().st_size if path.exists() else 0) == size:
        time.sleep(0.001)


def check_answers(ledger: Ledger, names: set[str]) -> None:
    rows = {row.name: row for row in ledger.rows() if row.state == "answered"}
    assert set(rows) == names
    for name, row in rows.items():
        np.testing.assert_array_equal(np.frombuffer(row.embedding, "<f4"), asking_process.expected_answer(name))


@pytest.mark.parametrize(("kills", "concurrency"), [(KILLS, 1), (15, 4)])
def test_kills_lose_no_answer_and_at_most_the_batches_under_way(
    kills, concurrency, processes, images, new_ledger, tmp_path
):
    asked, budget = 500, 500 + kills * BATCH * concurrency
    location, count_path = new_ledger(), tmp_path / "count"
    options = dict(asked=asked, budget=budget, batch_size=BATCH, seconds=0.005 * concurrency, concurrency=concurrency)
    moments = random.Random(0)
    killed = 0
    while True:
        process = processes.Process(target=asking_process.ask_all, args=(images, location, count_path), kwargs=options)
        process.start()
        if killed < kills:
            # Half of the moments lie anywhere, half shortly after the first question of this life.
            if killed % 2:
                wait_for_growth(count_path, process)
            time.sleep(moments.uniform(0, 0.02))
            process.kill()
        process.join()
        if process.exitcode == 0:
            break
        killed += 1
    assert killed >= kills
    assert not list(tmp_path.glob("*.error-*"))
    with Ledger(location, create=False) as ledger:
        assert verify(ledger) == []
        check_answers(ledger, {f"{index:05}.img" for index in range(asked)})
        summary = ledger.summary()
        asked_by_ledger = {row.name: row.asked for row in ledger.rows()}
    by_teacher = counted(count_path)
    assert (summary.unknown, summary.in_flight, summary.bad) == (0, 0, 0)
    # The teacher was never asked more often than the ledger says, and it says at most a batch a kill too much.
    assert all(by_teacher[name] <= times for name, times in asked_by_ledger.items())
    assert asked <= sum(by_teacher.values()) <= summary.spent <= min(budget, asked + killed * BATCH * concurrency)
    # The test is worth something only if kills did hit batches in flight.
    assert summary.spent > asked


def test_eight_processes_share_one_budget(processes, images, new_ledger, tmp_path):
    location, count_path = new_ledger(), tmp_path / "count"
    options = dict(asked=2000, budget=500, batch_size=7, seconds=0.001)
    crowd = [
        processes.Process(target=asking_process.ask_all, args=(images, location, count_path), kwargs=options)
        for _ in range(8)
    ]
    for process in crowd:
        process.start()
    for process in crowd:
        process.join()
    assert [process.exitcode for process in crowd] == [0] * 8
    assert not list(tmp_path.glob("*.error-*"))
    by_teacher = counted(count_path)
    assert len(by_teacher) == 500
    assert set(by_teacher.values()) == {1}
    with Ledger(location, create=False) as ledger:
        assert ledger.summary().spent == 500
        assert verify(ledger) == []
        check_answers(ledger, set(by_teacher))
