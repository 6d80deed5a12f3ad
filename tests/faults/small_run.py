"""A main job that takes seconds: noisy bars in six directions, a teacher that is a table."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image

REPOSITORY = Path(__file__).parents[2]
BUDGET = 24
FLAGS = (
    "--dataset=lists",
    f"--query_budget={BUDGET}",
    "--ask_batch_size=4",
    "--alpha=0.25",
    "--embedding_dim=8",
    "--noaugment",
    "--steps=40",
    "--batch_size=12",
    "--mixtures=8",
    "--evaluations=20",
    "--stages=ask,distill,evaluate",
    "--export_if_not_better",
)


def write_photos(root: Path) -> None:
    random = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 32)] * 2), -1)
    lists: dict[str, list[str]] = {"pool": [], "test": []}
    ids, vectors = [], []
    for role, count in (("pool", 30), ("test", 18)):
        for number in range(count):
            label = number % 6
            bar = np.abs(np.cos(label * np.pi / 6) * grid[..., 0] + np.sin(label * np.pi / 6) * grid[..., 1]) < 0.3
            pixels = np.clip(bar[..., None] * 120 + random.normal(60, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
            name = f"{role}_{number}.png"
            PIL.Image.fromarray(pixels).save(root / name)
            lists[role].append(name if role == "pool" else f"{name}, {label}")
            ids.append(name)
            vectors.append(np.concatenate([np.eye(6)[label], 0.3 * random.normal(size=3)]))
    for role, lines in lists.items():
        (root / f"{role}.txt").write_text("\n".join(lines) + "\n")
    np.savez(root / "teacher.npz", ids=np.array(ids), embeddings=np.array(vectors, np.float32))


def command(photos: Path, workdir: Path, *flags: str) -> list[str]:
    own = [f"--data_dir={photos}", "--teacher={data_dir}/teacher.npz", f"--workdir={workdir}"]
    return [sys.executable, "-m", "main", *FLAGS, *own, *flags]


def environment(**changes: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"} | changes


def run(arguments: list[str], **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, cwd=REPOSITORY, env=environment(**changes), capture_output=True, text=True, check=False, timeout=300
    )


def start(arguments: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        arguments,
        cwd=REPOSITORY,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A suite that runs in the background of a shell ignores Ctrl-C, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    """Waits until a file exists, or the process has ended without it."""
    deadline = time.monotonic() + 200
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, path
        time.sleep(0.005)


def student_row(workdir: Path) -> dict[str, float]:
    rows = json.loads((workdir / "metrics.json").read_text())["rows"]
    return next(row for row in rows if row["name"] == "student")


def error_line(finished: "subprocess.CompletedProcess[str]") -> str:
    lines = finished.stderr.splitlines()
    assert "Traceback" not in finished.stderr, finished.stderr
    return lines[-1]
