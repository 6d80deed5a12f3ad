"""Several replicas: the gradient and curve of one process, two real processes, and a killed worker that continues."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.training.distributed import free_ports
from kdistill.errors import ArgumentError
from kdistill.students import build
from kdistill.training.distiller import Distiller
from kdistill.training.distribution import strategy_of

REPOSITORY = Path(__file__).parents[2]
QUIET = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(REPOSITORY)}


@pytest.fixture(scope="module")
def mirrored():
    """What tests/training/distributed_process.py prints."""
    command = [sys.executable, str(REPOSITORY / "tests" / "training" / "distributed_process.py")]
    done = subprocess.run(command, env=QUIET, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.both_stacks
@pytest.mark.long
def test_gathered_rows_stand_in_the_order_of_the_replicas_and_have_the_gradient_of_one_process(mirrored):
    rows, gradients = mirrored["gather"]
    expected = np.concatenate([np.arange(6.0).reshape(3, 2), 10 + np.arange(6.0).reshape(3, 2)])
    for everywhere in rows:
        np.testing.assert_array_equal(everywhere, expected)
    # d/drow of sum(rows * weights) is the row's weight.
    np.testing.assert_array_equal(np.concatenate(gradients), np.arange(12.0).reshape(6, 2))


@pytest.mark.both_stacks
@pytest.mark.long
@pytest.mark.parametrize("case", ["bank", "rival", "labels with a bank"])
def test_two_replicas_train_as_one_process_with_the_global_batch(mirrored, case):
    assert mirrored["replicas"] == 2
    one, two = mirrored["cases"][case]["one"], mirrored["cases"][case]["two"]
    assert one["loss"][0] != one["loss"][-1]
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(two["embeddings"], one["embeddings"], atol=2e-3)
    np.testing.assert_allclose(two["bank"], one["bank"], atol=1e-6)
    # Means and variances that the batch normalisation of each stage remembers.
    assert len(one["statistics"]) == 6
    for ours, alone in zip(two["statistics"], one["statistics"], strict=True):
        np.testing.assert_allclose(ours, alone, rtol=1e-3, atol=1e-4)


@pytest.mark.both_stacks
@pytest.mark.long
def test_statistics_over_replicas_keep_their_digits_far_from_zero(mirrored):
    found, exact = mirrored["far_from_zero"]["two"], mirrored["far_from_zero"]["exact"]
    # The mean of squares less the square of the mean is off by some 0.1 of the variance here.
    np.testing.assert_allclose(found, exact, atol=1e-3)


@pytest.mark.both_stacks
@pytest.mark.long
def test_a_joint_space_of_each_replica_is_another_objective_with_the_same_bank(mirrored):
    whole, local = mirrored["cases"]["bank"]["two"], mirrored["replica"]
    assert abs(whole["loss"][0] - local["loss"][0]) > 1e-3
    # Which rows the bank holds depends on the images alone: those of both replicas.
    np.testing.assert_allclose(local["bank"], whole["bank"], atol=1e-6)


def test_unknown_names_are_refused():
    with pytest.raises(ArgumentError, match="strategy 'tpu' is unknown"):
        strategy_of("tpu")
    with pytest.raises(ArgumentError, match="joint space 'local' is unknown"):
        Distiller(build("small_cnn", alpha=0.25, image_size=16, embedding_dim=4), joint_space="local")


@pytest.mark.long
def test_each_step_of_two_processes_is_that_of_one(tmp_path):
    # From the same weights: next to a jump of ReLU's gradient, rounding alone decides on the curve that follows
    # (docs/distributed.md). The benchmark has freely running curves too, and SGD, as the test below.
    output = tmp_path / "distributed.json"
    options = ["--smoke", "--only", "adam", f"--json={output}"]
    command = [sys.executable, "-m", "benchmarks.training.distributed", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=QUIET, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(output.read_text())
    losses = result["loss"]["adam_one"]
    assert len(losses) == result["steps"] == 50
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert result["figures"]["adam_same_weights_difference"] < 1e-4
    assert result["figures"]["adam_update_difference"] < 1e-3


def _start(workdir, table, ports, index=None):
    command = [
        sys.executable, "main.py", f"--workdir={workdir}", f"--teacher={table}", "--dataset=digits",
        "--query_budget=40", "--alpha=0.25", "--image_size=32", "--embedding_dim=8", "--batch_size=20", "--mixtures=20",
        "--steps=48", "--evaluations=8", "--optimizer=sgd", "--learning_rate=0.003", "--stages=ask,distill",
    ]  # fmt: skip
    environment = QUIET
    if index is not None:
        command.append("--strategy=multiworker")
        cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
        environment = {
            **QUIET,
            "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
        }
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def _history(workdir):
    return [json.loads(line) for line in (workdir / "history.jsonl").read_text().splitlines()]


@pytest.mark.long
def test_a_killed_worker_that_is_started_again_continues(tmp_path):
    from kdistill.data.digits import digits_data

    pool = digits_data().pool
    answers = np.stack([image.pixels()[::4, ::4, 0].reshape(-1) for image in pool]).astype(np.float32)
    table = tmp_path / "teacher.npz"
    np.savez(table, ids=np.array(pool.ids), embeddings=answers - answers.mean(axis=0))
    alone = _start(tmp_path / "alone", table, None)
    said = alone.communicate()[1]
    assert alone.returncode == 0, said

    workdir, ports = tmp_path / "together", free_ports(2)
    chief, worker = (_start(workdir, table, ports, index) for index in (0, 1))
    deadline = time.monotonic() + 400
    while not (workdir / "checkpoints" / "checkpoint").exists() and time.monotonic() < deadline:
        assert chief.poll() is None, chief.stderr.read()
        time.sleep(0.05)
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    # The other one cannot go on alone: it says so and leaves, for a supervisor to start it again.
    told = chief.communicate()[1]
    assert chief.returncode == 75, told
    assert told.splitlines()[-1].startswith("error: another worker was lost; start the same command again"), told
    assert not (workdir / "student.keras").exists()

    chief, worker = (_start(workdir, table, ports, index) for index in (0, 1))
    followed, led = worker.communicate()[1], chief.communicate()[1]
    assert (chief.returncode, worker.returncode) == (0, 0), led + followed
    assert "ask: already done" in led
    assert "continuing after" in led
    assert "waiting for the chief" in followed
    assert (workdir / "student.keras").exists()
    whole, together = _history(tmp_path / "alone"), _history(workdir)
    assert [line["step"] for line in together] == [line["step"] for line in whole]
    np.testing.assert_allclose([line["loss"] for line in together], [line["loss"] for line in whole], rtol=1e-3)
    np.testing.assert_allclose([line["val_map"] for line in together], [line["val_map"] for line in whole], atol=0.01)
