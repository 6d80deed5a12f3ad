"""The main job as a user runs it: one command, its files, and what it says when something is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import main
from kdistill.errors import ArgumentError, KdistillError
from kdistill.settings import FIELDS, Settings
from kdistill.settings.effects import without_effect
from kdistill.stages.judging.evaluate import load_student
from kdistill.stages.workdir import Workdir
from kdistill.teachers import Ledger

REPOSITORY = Path(__file__).parents[2]
SMALL = {
    "dataset": "lists",
    "query_budget": 40,
    "backbone": "small_cnn",
    "alpha": 0.5,
    "image_size": 32,
    "embedding_dim": 12,
    "augment": False,
    "learning_rate": 3e-3,
    "steps": 160,
    "batch_size": 20,
    "mixtures": 20,
    "evaluations": 4,
    "val_file": "val.txt",
    "benchmark_runs": 3,
    "top_k": 3,
    "export_if_not_better": True,
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Noisy bars in six directions as files with lists, and a teacher table that knows the direction."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 40)] * 2), -1)
    lists, ids, vectors = {"pool": [], "test": [], "val": []}, [], []
    for role, count in (("pool", 60), ("test", 36), ("val", 18)):
        for number in range(count):
            label = number % 6
            bar = np.abs(np.cos(label * np.pi / 6) * grid[..., 0] + np.sin(label * np.pi / 6) * grid[..., 1]) < 0.3
            pixels = np.clip(bar[..., None] * 120 + rng.normal(60, 50, (40, 40, 3)), 0, 255).astype(np.uint8)
            name = f"{role}_{number}.png"
            PIL.Image.fromarray(pixels).save(root / name)
            lists[role].append(name if role == "pool" else f"{name}, {label}")
            ids.append(name)
            vectors.append(np.concatenate([np.eye(6)[label], 0.3 * rng.normal(size=3)]))
    for role, lines in lists.items():
        (root / f"{role}.txt").write_text("\n".join(lines) + "\n")
    np.savez(root / "teacher.npz", ids=np.array(ids), embeddings=np.array(vectors, np.float32))
    return root


def _settings(photos, workdir, **changes):
    values = SMALL | {"data_dir": str(photos), "teacher": str(photos / "teacher.npz"), "workdir": str(workdir)}
    return Settings.of(**(values | changes))


def _arguments(settings):
    arguments = [f"--{name}={settings.value(name)}" for name in (*SMALL, "data_dir", "workdir")]
    return [sys.executable, "main.py", *arguments, "--teacher={data_dir}/teacher.npz"]


def _run(arguments, **options):
    return subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="module")
def continued(photos, tmp_path_factory):
    """The work folder of a whole run that was killed while it trained, and what its second start came to."""
    workdir = tmp_path_factory.mktemp("run") / "work"
    command = _arguments(_settings(photos, workdir))
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not (workdir / "checkpoints" / "checkpoint").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not (workdir / "student.keras").exists()
    return workdir, _run(command)


@pytest.fixture(scope="module")
def finished(continued):
    """The work folder of a whole run."""
    return continued[0]


MADE = (
    "flags.txt",
    "ledger.sqlite",
    "answers.npz",
    "student.keras",
    "student.onnx",
    "student.tflite",
    "student_float16.tflite",
    "student_dynamic_int8.tflite",
    "retriever.tflite",
    "retriever.json",
    "retriever.onnx",
    "retriever.onnx.json",
    "card.json",
    "metrics.json",
    "report.html",
)


@pytest.mark.long
def test_a_killed_run_continues_and_makes_every_file_without_a_warning(continued):
    workdir, result = continued
    assert result.returncode == 0, result.stderr
    assert "ask: already done" in result.stderr
    assert "continuing after" in result.stderr
    for name in MADE:
        assert (workdir / name).stat().st_size > 0, name
    assert list((workdir / "logs").rglob("events*"))
    # No warning of a library reaches the user.
    for line in (result.stdout + result.stderr).splitlines():
        assert "Warning" not in line, line
        assert "WARNING" not in line, line
        assert "Traceback" not in line, line


@pytest.mark.long
def test_metrics_have_the_promised_rows_and_files(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    rows = {row["name"]: row for row in metrics["rows"]}
    assert set(rows) == {"teacher", "student", "untouched"}
    assert rows["student"]["queries"] == 40
    assert rows["untouched"]["queries"] == 0
    assert rows["student"]["map"] > rows["untouched"]["map"] + 0.1
    for row in metrics["rows"]:
        assert {"map", "recall_at_1", "map_at_r", "queries", "parameters"} <= row.keys()
    files = {row["name"]: row for row in metrics["files"]}
    assert {"student.keras", "student.onnx", "student.tflite", "retriever.tflite"} <= files.keys()
    for row in files.values():
        assert {"name", "bytes", "cosine_mean", "map", "latency_ms_median"} <= row.keys()
        assert row["cosine_mean"] > 0.99


@pytest.mark.long
def test_started_again_it_says_so_and_spends_nothing(finished, photos):
    workdir = finished
    before = (workdir / "ledger.sqlite").read_bytes(), (workdir / "metrics.json").read_bytes()
    main.run_stages(_settings(photos, workdir), list(main.STAGES.defaults), redo=False)
    assert ((workdir / "ledger.sqlite").read_bytes(), (workdir / "metrics.json").read_bytes()) == before


@pytest.mark.long
def test_the_flags_it_writes_reproduce_it(finished, photos):
    workdir = finished
    flags = [line for line in (workdir / "flags.txt").read_text().splitlines() if not line.startswith("#")]
    named = {line.split("=")[0].removeprefix("--") for line in flags}
    left_out = {"judge_queries"}  # a number that is not given has no text
    assert named == FIELDS.keys() - without_effect(_settings(photos, workdir)).keys() - left_out
    again = _run([sys.executable, "main.py", f"--flagfile={workdir}/flags.txt"])
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("already done") == 6


@pytest.mark.long
def test_other_settings_in_the_same_folder_are_refused_by_name(finished, photos):
    with pytest.raises(ArgumentError, match=r"run with --steps=160, not 100; name another --workdir"):
        main.run_stages(_settings(photos, finished, steps=100), ["evaluate"], redo=False)


def test_redo_pays_for_nothing_twice(photos, tmp_path):
    settings = _settings(photos, tmp_path)
    main.run_stages(settings, ["ask"], redo=False)
    main.run_stages(settings.changed(query_budget=50), ["ask"], redo=True)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.summary().spent == 50
    with np.load(tmp_path / "answers.npz") as answers:
        assert len(set(answers["ids"].tolist())) == 50


def test_dry_run_tells_the_price_and_asks_nothing(photos, tmp_path, capsys):
    settings = _settings(photos, tmp_path, dry_run=True, price_per_query=0.25)
    main.run_stages(settings, ["ask"], redo=False)
    printed = capsys.readouterr().out
    assert "40 to ask" in printed
    assert "10.00" in printed
    assert not (tmp_path / "answers.npz").exists()
    assert not (tmp_path / "ledger.sqlite").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query_budget": 61}, "query_budget=61, but there are only 60 images"),
        ({"teacher": "nowhere.npz"}, "nowhere.npz"),
        ({"data_dir": "nowhere"}, "nowhere"),
        ({"pool_file": "nowhere.txt"}, "nowhere.txt"),
    ],
)
def test_bad_input_to_ask_is_one_sentence(photos, tmp_path, changes, message):
    with pytest.raises(KdistillError, match=message) as caught:
        main.run_stages(_settings(photos, tmp_path, **changes), ["ask"], redo=False)
    assert "\n" not in str(caught.value)


def test_stages_ask_for_what_they_miss(photos, tmp_path):
    for stage, missing in (("distill", "ask"), ("evaluate", "distill"), ("export", "distill"), ("report", "distill")):
        with pytest.raises(ArgumentError, match=f"run the stage '{missing}' first"):
            main.run_stages(_settings(photos, tmp_path), [stage], redo=False)
    with pytest.raises(ArgumentError, match="did you mean 'distill'"):
        main.run_stages(_settings(photos, tmp_path), ["distil"], redo=False)


def test_an_unreadable_image_is_skipped_and_named_unless_strict(photos, tmp_path, caplog):
    data = tmp_path / "data"
    data.mkdir()
    for file in photos.iterdir():
        os.symlink(file, data / file.name)
    (data / "pool_7.png").unlink()
    (data / "pool_7.png").write_text("not an image")
    settings = _settings(data, tmp_path / "run", query_budget=60)
    # The table answers by name, so that the question is paid before the student finds the image broken.
    main.run_stages(settings.changed(steps=4), ["ask", "distill"], redo=False)
    assert (tmp_path / "run" / "student.keras").exists()
    with pytest.raises(KdistillError, match=r"pool_7\.png"):
        main.run_stages(settings.changed(strict=True), ["distill"], redo=True)


def test_a_corrupt_student_is_named(tmp_path):
    (tmp_path / "student.keras").write_bytes(b"no model")
    with pytest.raises(KdistillError, match=r"student\.keras is not a readable student"):
        load_student(Workdir(tmp_path), Settings())


def test_mistakes_on_the_command_line_exit_with_a_hint_and_no_traceback(photos, tmp_path):
    unknown = _run([sys.executable, "main.py", "--learning_rat=1"])
    assert unknown.returncode == 2
    assert "learning_rate" in unknown.stderr
    stray = _run([sys.executable, "main.py", "step=3"])
    assert stray.returncode == 2
    assert "unexpected argument 'step=3'" in stray.stdout + stray.stderr
    assert "did you mean --steps?" in stray.stdout + stray.stderr
    bad = _run([*_arguments(_settings(photos, tmp_path)), "--query_budget=0", "--stages=ask"])
    assert bad.returncode == 2
    assert bad.stderr.splitlines()[-1].startswith("error: flag --query_budget=0")
    for result in (unknown, stray, bad):
        assert "Traceback" not in result.stderr
    told = _run([*_arguments(_settings(photos, tmp_path)), "--query_budget=61", "--stages=ask", "--verbosity=1"])
    assert "Traceback" in told.stderr


@pytest.mark.long
def test_a_full_disk_is_one_sentence_and_keeps_what_was_paid_for(photos, tmp_path):
    settings = _settings(photos, tmp_path, steps=8, evaluations=2)
    main.run_stages(settings, ["ask"], redo=False)
    # A limit on the size of files makes writing fail as a full disk does, without being root.
    code = (
        "import resource, runpy, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path('main.py', run_name='__main__')"
    )
    python, *command = [*_arguments(settings), "--stages=distill"]
    full = _run([python, "-c", code, *command])
    assert full.returncode == 1
    assert full.stderr.splitlines()[-1].startswith("error: ")
    assert str(tmp_path) in full.stderr.splitlines()[-1]
    assert "Traceback" not in full.stderr
    assert not (tmp_path / "student.keras").exists()
    main.run_stages(settings, ["ask", "distill"], redo=False)
    assert (tmp_path / "student.keras").exists()
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.summary().spent == 40


@pytest.mark.parametrize("flagfile", sorted((REPOSITORY / "configs").glob("*.flags")), ids=lambda path: path.name)
def test_every_shipped_flagfile_is_valid(flagfile):
    result = _run([sys.executable, "main.py", f"--flagfile={flagfile}", "--only_check_args"])
    assert result.returncode == 0, result.stderr
    assert flagfile.read_text().startswith("# python main.py --flagfile=")
