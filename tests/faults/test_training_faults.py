"""Faults inside a stage: damaged checkpoints, losses that are not finite, edited images, no memory."""

import json
import shutil
import sys

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from small_run import BUDGET, run

import main
from benchmarks.faults.__main__ import same_weights
from kdistill.data.pipeline import rows_of_step
from kdistill.errors import KdistillError
from kdistill.evaluation.blockwise import memory
from kdistill.settings import Settings
from kdistill.stages.distilling.answered import answered
from kdistill.stages.judging import judge
from kdistill.stages.judging.judge import Judge, Vectors
from kdistill.stages.opening.sources import data_of
from kdistill.stages.workdir import Workdir
from kdistill.training.distiller import Distiller


def settings_of(photos, workdir, **changes) -> Settings:
    values = dict(
        dataset="lists",
        data_dir=str(photos),
        teacher=str(photos / "teacher.npz"),
        workdir=str(workdir),
        query_budget=BUDGET,
        alpha=0.25,
        embedding_dim=8,
        augment=False,
        steps=40,
        batch_size=12,
        mixtures=8,
        evaluations=20,
    )
    return Settings.of(**(values | changes))


@pytest.fixture
def undistilled(undisturbed, tmp_path):
    """The undisturbed run as it was before the last checkpoint was used."""
    workdir = tmp_path / "work"
    shutil.copytree(undisturbed, workdir)
    (workdir / "student.keras").unlink()
    record = json.loads((workdir / "stages.json").read_text())
    record["stages"] = {"ask": record["stages"]["ask"]}
    (workdir / "stages.json").write_text(json.dumps(record))
    return workdir


@pytest.mark.long
@pytest.mark.parametrize("part", ["data-00000-of-00001", "index"])
def test_a_truncated_checkpoint_means_the_one_before(photos, undisturbed, undistilled, caplog, part):
    newest = undistilled / "checkpoints" / f"ckpt-20.{part}"
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    main.run_stages(settings_of(photos, undistilled), ["distill"], redo=False)
    assert "ckpt-20 cannot be read" in caplog.text
    assert "trying the one before" in caplog.text
    assert same_weights(undisturbed / "student.keras", undistilled / "student.keras")


@pytest.mark.long
def test_no_checkpoint_that_can_be_read_is_told(photos, undistilled):
    for file in (undistilled / "checkpoints").glob("ckpt-*"):
        file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(KdistillError, match=r"no checkpoint in .* can be read; delete that folder"):
        main.run_stages(settings_of(photos, undistilled), ["distill"], redo=False)


@pytest.mark.long
def test_a_loss_that_is_not_finite_names_its_images_and_keeps_the_last_checkpoint(
    photos, undisturbed, undistilled, monkeypatch
):
    shutil.rmtree(undistilled / "checkpoints")
    (undistilled / "history.jsonl").unlink()
    settings = settings_of(photos, undistilled)
    plain = Distiller.joint_loss

    def broken(self, *arguments, **options):
        at = tf.cast(self.optimizer.iterations, tf.int64) == 24
        return plain(self, *arguments, **options) + tf.where(at, np.nan, 0.0)

    with monkeypatch.context() as changed:
        changed.setattr(Distiller, "joint_loss", broken)
        with pytest.raises(KdistillError, match="the loss became nan at step 25") as caught:
            main.run_stages(settings, ["distill"], redo=False)
    with np.load(undistilled / "answers.npz") as answers:
        expected = [str(answers["ids"][row]) for row in rows_of_step(BUDGET, 12, 24, settings.run.seed)]
    assert str(caught.value).endswith("its images: " + ", ".join(map(repr, expected)))
    assert not (undistilled / "student.keras").exists()
    main.run_stages(settings, ["distill"], redo=False)
    assert same_weights(undisturbed / "student.keras", undistilled / "student.keras")


@pytest.mark.long
def test_an_image_edited_after_it_was_asked_about_is_left_out_and_told(photos, undistilled, tmp_path, caplog):
    data = tmp_path / "data"
    shutil.copytree(photos, data)
    with np.load(undistilled / "answers.npz") as answers:
        name = str(answers["ids"][3])
    PIL.Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(data / name)
    changed = settings_of(photos, undistilled, data_dir=str(data), steps=4, evaluations=1)
    learned = answered(changed, Workdir(undistilled), data_of(changed).pool)
    assert f"skipped: image {name!r} was changed after the teacher was asked about it" in caplog.text
    assert name not in learned.images.ids
    assert len(learned.images) == len(learned.targets) == BUDGET - 1
    with pytest.raises(KdistillError, match=f"image {name!r} was changed"):
        answered(changed.changed(strict=True), Workdir(undistilled), data_of(changed).pool)


def vectors(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)


def test_an_evaluation_without_memory_takes_smaller_blocks_and_says_so(monkeypatch, caplog):
    class Data:
        queries = truth = None

        class gallery:
            labels = np.arange(30) % 3

    tried = []
    plain = judge.evaluate_leave_one_out

    def short_of_memory(*arguments, max_memory_mb, **options):
        tried.append(max_memory_mb)
        if max_memory_mb > 100:
            raise MemoryError
        return plain(*arguments, max_memory_mb=max_memory_mb, **options)

    gallery = Vectors(vectors(30), None)
    expected = Judge(Data, 512).scores(gallery).as_dict()
    monkeypatch.setattr(judge, "evaluate_leave_one_out", short_of_memory)
    assert Judge(Data, 512).scores(gallery).as_dict() == expected
    assert tried == [512, 256, 128, 64]
    assert "evaluating again in blocks of 64 instead of 128 MiB" in caplog.text
    monkeypatch.setattr(judge, "evaluate_leave_one_out", exhausted)
    with pytest.raises(KdistillError, match="not enough memory to evaluate, even in blocks of 16 MiB"):
        Judge(Data, 512).scores(gallery)


def exhausted(*_, **__):
    raise MemoryError


@pytest.mark.parametrize("error", [MemoryError(), tf.errors.ResourceExhaustedError(None, None, "no memory")])
def test_a_batch_without_memory_is_halved(error, caplog):
    def embed(pixels):
        if len(pixels) > 2:
            raise error
        return pixels.reshape(len(pixels), -1)[:, :2]

    pixels = np.arange(7 * 12, dtype=np.uint8).reshape(7, 2, 2, 3)
    np.testing.assert_array_equal(memory.in_smaller_batches(embed, pixels), pixels.reshape(7, -1)[:, :2])
    assert "memory ran out: embedding 7 images in two batches" in caplog.text

    def none(pixels):
        raise error

    with pytest.raises(KdistillError, match="not enough memory to embed even one image"):
        memory.in_smaller_batches(none, pixels)


def test_a_real_limit_on_memory_is_one_sentence():
    code = (
        "import resource\n"
        "from kdistill.errors import run_command\n"
        "import numpy as np\n"
        "def main():\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "    np.ones((1 << 33,), np.uint8)\n"
        "run_command(main)\n"
    )
    finished = run([sys.executable, "-c", code])
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: there is not enough memory")
    assert finished.stderr.count("\n") == 1
