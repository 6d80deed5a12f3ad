"""Real processes that are killed, interrupted and started again: the same student, every question paid once."""

import signal
import subprocess
import sys

import pytest
from small_run import BUDGET, command, run, start, student_row, wait_for

from benchmarks.faults.__main__ import same_weights
from kdistill.teachers import Ledger
from kdistill.teachers.ledger.transfer import verify


def check_finished(workdir, undisturbed) -> None:
    assert same_weights(undisturbed / "student.keras", workdir / "student.keras")
    assert student_row(workdir)["map"] == student_row(undisturbed)["map"]
    with Ledger(workdir / "ledger.sqlite", create=False) as ledger:
        assert (ledger.summary().spent, ledger.summary().answered) == (BUDGET, BUDGET)
        assert {row.asked for row in ledger.rows()} == {1}
        assert verify(ledger) == []


@pytest.fixture(scope="module")
def killed(photos, undisturbed, tmp_path_factory):
    """A run with a kill in each stage, each at the moment when something of it lies on the disk."""
    workdir = tmp_path_factory.mktemp("killed") / "work"
    for file in ("ledger.sqlite-askers", "checkpoints/checkpoint", "student.keras"):
        with start(command(photos, workdir)) as process:
            wait_for(workdir / file, process)
            process.send_signal(signal.SIGKILL)
            process.communicate()
    return workdir, run(command(photos, workdir))


@pytest.mark.long
def test_a_kill_in_each_stage_changes_nothing(killed, undisturbed):
    workdir, finished = killed
    assert finished.returncode == 0, finished.stderr
    check_finished(workdir, undisturbed)


@pytest.mark.long
def test_an_interrupt_is_one_sentence_and_130_and_continues(photos, undisturbed, tmp_path):
    workdir = tmp_path / "work"
    with start(command(photos, workdir)) as process:
        wait_for(workdir / "checkpoints" / "checkpoint", process)
        process.send_signal(signal.SIGINT)  # SIGTERM: the test below
        _, said = process.communicate(timeout=100)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "interrupted; start the same command again to continue"
    assert "Traceback" not in said
    again = run(command(photos, workdir))
    assert again.returncode == 0, again.stderr
    assert "ask: already done" in again.stderr
    assert "continuing after" in again.stderr
    check_finished(workdir, undisturbed)


@pytest.mark.parametrize("module", ["kdistill.teachers", "kdistill.evaluation.embed", "export", "benchmarks.faults"])
def test_every_command_ends_so(module):
    code = (
        "import os, runpy, signal, time\n"
        "import argparse\n"
        "def parse(*_):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
        "argparse.ArgumentParser.parse_args = parse\n"
        f"runpy.run_module({module!r}, run_name='__main__')\n"
    )
    finished = run([sys.executable, "-c", code])
    assert finished.returncode == 130, finished.stderr
    assert finished.stderr.splitlines()[-1].startswith("interrupted")


@pytest.mark.long
def test_a_random_kill_of_a_whole_run(photos, tmp_path):
    from small_run import FLAGS

    from benchmarks.faults.__main__ import measure

    flags = [*FLAGS, f"--data_dir={photos}", "--teacher={data_dir}/teacher.npz"]
    result = measure(flags, tmp_path, kills=1, seed=0, longest_life=20.0)
    figures = result["figures"]
    assert figures["kills"] >= 1
    assert (figures["lost_answers"], figures["budget_violations"]) == (0, 0)
    assert figures["map_disturbed"] == figures["map_undisturbed"]
    assert figures["students_identical"] == 1
    assert not subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, check=False).stdout
