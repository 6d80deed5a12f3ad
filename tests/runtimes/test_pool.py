"""A pool lends each item to one caller at a time and makes no more than it may."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from kdistill.console.quiet import quiet
from kdistill.runtimes.pool import Pool


@pytest.mark.parametrize("most", [1, 3])
def test_nobody_shares_an_item(most):
    made, held, clashes = [], set(), []

    def make():
        made.append(len(made))
        return made[-1]

    pool = Pool(make, most)

    def use(_):
        with pool.borrow() as item:
            clashes.append(item in held)
            held.add(item)
            time.sleep(0.0005)
            held.remove(item)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(200)))
    assert not any(clashes)
    assert len(clashes) == 200
    assert 1 <= len(made) <= most


def test_an_item_comes_back_after_an_error_and_a_failed_making_frees_its_place():
    failing = []

    def make():
        if failing:
            raise OSError("no more")
        return object()

    pool = Pool(make, 2)
    with pytest.raises(KeyError), pool.borrow():
        raise KeyError
    with pool.borrow():
        failing.append(True)
        for _ in range(3):  # a place that stayed taken would make the second wait for good
            with pytest.raises(OSError, match="no more"), pool.borrow():
                pass
        failing.clear()
        with pool.borrow():
            pass


def test_quiet_in_many_threads_gives_the_terminal_back(capfd):
    barrier = threading.Barrier(6)

    def silent(_):
        barrier.wait()
        for _ in range(20):
            with quiet():
                print("never seen")

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(silent, range(6)))
    print("seen")
    assert capfd.readouterr().out == "seen\n"
