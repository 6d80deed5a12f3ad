"""A training that was interrupted and goes on under other settings ends as a fresh run of these settings does."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest

import main
from kdistill.errors import ArgumentError
from kdistill.runtimes.keras_models.keras_files import load_keras_file
from kdistill.settings import Settings
from kdistill.stages.workdir import Workdir
from kdistill.training.callbacks import ResumableCheckpoint

pytestmark = pytest.mark.long

TRAINING = ["ask", "distill"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Random photos with lists and a teacher that is a table."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    names = {role: [f"{role}{number}.png" for number in range(24)] for role in ("pool", "test")}
    for name in (*names["pool"], *names["test"]):
        PIL.Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(root / name)
    (root / "pool.txt").write_text("\n".join(names["pool"]))
    (root / "test.txt").write_text("".join(f"{name}, {row % 4}\n" for row, name in enumerate(names["test"])))
    vectors = random.normal(size=(48, 6)).astype(np.float32)
    np.savez(root / "teacher.npz", ids=np.array([*names["pool"], *names["test"]]), embeddings=vectors)
    return root


def settings(photos: Path, workdir: Path, **changes) -> Settings:
    values = {
        "dataset": "lists",
        "data_dir": str(photos),
        "teacher": str(photos / "teacher.npz"),
        "workdir": str(workdir),
        "query_budget": 12,
        "alpha": 0.25,
        "image_size": 16,
        "embedding_dim": 8,
        "batch_size": 6,
        "mixtures": 6,
        "bank_size": 16,
        "steps": 12,
        "evaluations": 6,
    }
    return Settings.of(**(values | changes))


def weights(workdir: Path) -> list[np.ndarray]:
    return load_keras_file(workdir / "student.keras").get_weights()


def assert_same(first: Path, second: Path) -> None:
    for one, other in zip(weights(first), weights(second), strict=True):
        np.testing.assert_array_equal(one, other)


def interrupted(photos: Path, workdir: Path, **changes) -> None:
    """Trains until it stops as by Ctrl-C after the third checkpoint."""
    save, saved = ResumableCheckpoint.on_epoch_end, []

    def stop(self, epoch, logs=None):
        save(self, epoch, logs)
        saved.append(epoch)
        if len(saved) == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResumableCheckpoint, "on_epoch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            main.run_stages(settings(photos, workdir, **changes), TRAINING, redo=False)
    assert (workdir / "checkpoints" / "checkpoint").exists()
    assert not (workdir / "student.keras").exists()


@pytest.fixture(scope="module")
def begun(photos, tmp_path_factory):
    """The work folder of a training that was interrupted; each test takes a copy."""
    workdir = tmp_path_factory.mktemp("begun") / "run"
    interrupted(photos, workdir)
    return workdir


ON_BOTH_STACKS = [{"loss": "list_mle"}, {"learning_rate": 5e-3}]
OTHERS = [
    {"evaluations": 3},
    {"batch_size": 4},
    {"loss_options": "student_temperature=0.2"},
    {"steps": 20},
    {"mixtures": 0},
    {"optimizer": "sgd"},
]


@pytest.mark.parametrize(
    "changes", [*(pytest.param(one, marks=pytest.mark.both_stacks) for one in ON_BOTH_STACKS), *OTHERS], ids=str
)
def test_it_ends_as_a_fresh_run_of_the_final_settings(photos, begun, tmp_path, changes):
    shutil.copytree(begun, tmp_path / "run")
    main.run_stages(settings(photos, tmp_path / "run", **changes), TRAINING, redo=False)
    main.run_stages(settings(photos, tmp_path / "fresh", **changes), TRAINING, redo=False)
    assert_same(tmp_path / "run", tmp_path / "fresh")


def test_how_often_it_pauses_changes_nothing(photos, tmp_path):
    for number, evaluations in enumerate((1, 5, 12)):
        main.run_stages(settings(photos, tmp_path / str(number), evaluations=evaluations), TRAINING, redo=False)
        history = (tmp_path / str(number) / "history.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in history][-1] == 12
        assert len(history) == evaluations
    assert_same(tmp_path / "0", tmp_path / "1")
    assert_same(tmp_path / "0", tmp_path / "2")


def test_another_seed_is_refused_and_redone(photos, begun, tmp_path):
    shutil.copytree(begun, tmp_path / "run")
    other = settings(photos, tmp_path / "run", seed=1)
    with pytest.raises(ArgumentError, match="run with --seed=0, not 1"):
        main.run_stages(other, TRAINING, redo=False)
    main.run_stages(other, TRAINING, redo=True)
    # A fresh run that has the same answers.
    (tmp_path / "fresh").mkdir()
    shutil.copy(tmp_path / "run" / "ledger.sqlite", tmp_path / "fresh")
    main.run_stages(settings(photos, tmp_path / "fresh", seed=1), TRAINING, redo=False)
    assert_same(tmp_path / "run", tmp_path / "fresh")


def test_a_photo_that_was_replaced_is_not_trained_on_by_half(photos, tmp_path):
    data = tmp_path / "photos"
    shutil.copytree(photos, data)
    interrupted(data, tmp_path / "run")
    with np.load(tmp_path / "run" / "answers.npz") as answers:
        name = str(answers["ids"][0])
    PIL.Image.fromarray(np.full((16, 16, 3), 200, np.uint8)).save(data / name)
    main.run_stages(settings(data, tmp_path / "run"), TRAINING, redo=False)
    (tmp_path / "fresh").mkdir()
    shutil.copy(tmp_path / "run" / "ledger.sqlite", tmp_path / "fresh")
    main.run_stages(settings(data, tmp_path / "fresh"), TRAINING, redo=False)
    assert_same(tmp_path / "run", tmp_path / "fresh")


def test_more_answers_after_a_finished_run_reach_the_student(photos, tmp_path):
    small, large = settings(photos, tmp_path / "run"), settings(photos, tmp_path / "run", query_budget=20)
    main.run_stages(small, [*TRAINING, "evaluate"], redo=False)
    before = weights(tmp_path / "run")
    main.run_stages(large, ["ask"], redo=True)
    main.run_stages(large, ["distill", "evaluate"], redo=False)
    main.run_stages(large.changed(workdir=str(tmp_path / "fresh")), [*TRAINING, "evaluate"], redo=False)
    assert_same(tmp_path / "run", tmp_path / "fresh")
    assert any((one != other).any() for one, other in zip(before, weights(tmp_path / "run"), strict=True))
    rows = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert rows == json.loads((tmp_path / "fresh" / "metrics.json").read_text())
    assert next(row for row in rows["rows"] if row["name"] == "student")["queries"] == 20


def test_a_deleted_student_is_made_again_without_training(photos, tmp_path, caplog):
    main.run_stages(settings(photos, tmp_path / "run"), TRAINING, redo=False)
    before = weights(tmp_path / "run")
    (tmp_path / "run" / "student.keras").unlink()
    caplog.set_level("INFO", logger="absl")
    main.run_stages(settings(photos, tmp_path / "run"), TRAINING, redo=False)
    assert any("student.keras, which is gone" in record.getMessage() for record in caplog.records)
    assert any("continuing after 12 of 12 steps" in record.getMessage() for record in caplog.records)
    for one, other in zip(before, weights(tmp_path / "run"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_embedded_teacher_is_that_of_the_seed(tmp_path, monkeypatch):
    from kdistill.stages.opening import models

    trained = []

    def train(path, seed):
        trained.append(seed)
        keras.Sequential([keras.layers.Input((32, 32, 3)), keras.layers.Flatten(name=f"f{seed}")]).save(path)

    monkeypatch.setattr("kdistill.teachers.providers.digits.train_digits_teacher", train)
    teacher = Settings().teacher
    names = [models.teacher_of(teacher, seed, Workdir(tmp_path).path).name for seed in (0, 0, 1, 1, 0)]
    assert trained == [0, 1, 0]
    assert names[0] == names[1] != names[2]


@pytest.mark.both_stacks
def test_in_half_precision_too_and_what_is_delivered_is_float32(photos, tmp_path):
    half = {"training_precision": "mixed_float16"}
    interrupted(photos, tmp_path / "stopped", **half)
    for name, changes in (("stopped", half), ("whole", half), ("float32", {})):
        main.run_stages(settings(photos, tmp_path / name, **changes), TRAINING, redo=False)
    assert_same(tmp_path / "stopped", tmp_path / "whole")
    student = load_keras_file(tmp_path / "whole" / "student.keras")
    assert "float16" not in {layer.compute_dtype for layer in student.layers}
    found, plain = (
        np.concatenate([np.ravel(weight) for weight in weights(tmp_path / name)]) for name in ("whole", "float32")
    )
    assert 0 < np.abs(found - plain).max() < 0.05
