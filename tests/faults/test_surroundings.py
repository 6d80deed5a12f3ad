"""The disk, the clock and the files around a run, each going wrong in its own way."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
from small_run import BUDGET, command, error_line, run, start, wait_for

from benchmarks.faults.__main__ import same_weights
from kdistill.data import Image, ImageSet
from kdistill.errors import KdistillError
from kdistill.teachers import Ledger, ask, open_teacher


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 40 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small file system is not permitted: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder, leave: int) -> None:
    """Writes a file that leaves so many bytes, or as large as it can become while others write too."""
    with contextlib.suppress(OSError), open(folder / "filler", "wb", buffering=0) as file:
        while (room := shutil.disk_usage(folder).free - leave) > 0:
            file.write(bytes(min(room, 1 << 20)))


@pytest.mark.long
def test_a_full_disk_is_one_sentence_and_no_question_is_lost(photos, undisturbed, small_disk):
    workdir = small_disk / "work"
    fill(small_disk, 16 << 20)
    nothing = run(command(photos, workdir, "--stages=ask"))
    assert nothing.returncode == 1, nothing.stderr
    assert "less than the 32 MiB that keep answers safe" in error_line(nothing)
    (small_disk / "filler").unlink()
    with start(command(photos, workdir)) as process:
        wait_for(workdir / "checkpoints" / "checkpoint", process)
        fill(small_disk, 0)
        _, said = process.communicate(timeout=200)
    assert process.returncode == 1, said
    assert said.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in said
    (small_disk / "filler").unlink()
    again = run(command(photos, workdir))
    assert again.returncode == 0, again.stderr
    assert same_weights(undisturbed / "student.keras", workdir / "student.keras")
    with Ledger(workdir / "ledger.sqlite") as ledger:
        assert ledger.summary().spent == BUDGET


@pytest.mark.long
def test_a_read_only_folder_is_one_sentence(photos, small_disk):
    (small_disk / "work").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    refused = run(command(photos, small_disk / "work"))
    assert refused.returncode == 1
    assert error_line(refused).startswith(f"error: the work folder '{small_disk}/work' cannot be written")
    with pytest.raises(KdistillError, match="cannot be used"):
        Ledger(small_disk / "work" / "ledger.sqlite")


@pytest.mark.long
def test_a_clock_that_runs_backwards_changes_nothing(photos, undisturbed, tmp_path):
    workdir = tmp_path / "work"
    code = (
        "import itertools, runpy, sys, time\n"
        "began, days = time.time(), itertools.count()\n"
        "time.time = lambda: began - 86400.0 * next(days)\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_module('main', run_name='__main__')\n"
    )
    arguments = [sys.executable, "-c", code, *command(photos, workdir)[2:]]
    with start(arguments) as process:
        wait_for(workdir / "checkpoints" / "checkpoint", process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    for file in sorted((workdir / "checkpoints").iterdir()):
        os.utime(file, (0, 4e9 if "ckpt-1." in file.name else 1e9))  # the oldest looks like the newest
    finished = run(arguments)
    assert finished.returncode == 0, finished.stderr
    assert same_weights(undisturbed / "student.keras", workdir / "student.keras")
    with Ledger(workdir / "ledger.sqlite") as ledger:
        assert (ledger.summary().spent, ledger.summary().answered) == (BUDGET, BUDGET)


def test_a_file_edited_while_the_teacher_is_asked_is_told_and_not_paid_for(tmp_path):
    for number in range(4):
        PIL.Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    images = ImageSet([Image(f"{number}.png", path=tmp_path / f"{number}.png") for number in range(4)])
    calls = []

    def teacher(batch):
        calls.append([image.id for image in batch])
        PIL.Image.fromarray(np.full((4, 4, 3), 200, np.uint8)).save(tmp_path / "2.png")
        return np.ones((len(batch), 2))

    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        answers = ask(open_teacher(teacher), images, range(4), ledger, budget=4, batch_size=1)
        assert ledger.summary().spent == 3
    assert calls == [["0.png"], ["1.png"], ["3.png"]]
    assert answers.indices.tolist() == [0, 1, 3]
    ((name, reason),) = answers.skipped
    assert name == "2.png"
    assert "was changed" in reason
