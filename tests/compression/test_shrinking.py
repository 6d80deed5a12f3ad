"""The shrinking training: reset gradients, a target that is met, a stage that survives a kill, a fresh process."""

import json

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from trained import student_of

from kdistill.compression import CapacityDistiller, count_flops, insert_compactors, merge
from kdistill.errors import ArgumentError
from kdistill.evaluation import evaluate_leave_one_out
from kdistill.settings import Settings
from kdistill.stages import compact
from kdistill.stages.distill import distill
from kdistill.stages.workdir import Workdir


def _distiller(**options):
    student, pixels = student_of("small_cnn", alpha=0.5, size=16, dim=6)
    distiller = CapacityDistiller(insert_compactors(student), **options)
    distiller.compile(keras.optimizers.SGD(0.1))
    teacher = np.random.default_rng(0).normal(size=(len(pixels), 5)).astype(np.float32)
    return distiller, pixels, teacher


def test_kept_columns_get_the_distillation_gradient_and_the_others_the_lasso_alone():
    distiller, pixels, teacher = _distiller(lasso=0.1)
    marks = np.random.default_rng(1).integers(0, 2, 32).astype(np.float32)
    for compactor in distiller.compactors:
        compactor.kept.assign(marks[: compactor.kept.shape[0]])
    before = [np.asarray(compactor.kernel).copy() for compactor in distiller.compactors]
    with tf.GradientTape() as tape:
        loss = distiller.joint_loss(teacher, distiller.student(pixels, training=True), training=True)
    gradients = tape.gradient(loss, [compactor.kernel for compactor in distiller.compactors])
    # Statistics moved in that forward pass; the step below is on the same batch, which alone normalises in training.
    distiller.fit(pixels, teacher, batch_size=len(pixels), shuffle=False, verbose=0)
    for compactor, old, gradient in zip(distiller.compactors, before, gradients, strict=True):
        new = np.asarray(compactor.kernel)
        assert np.abs(gradient).max() > 1e-4
        for column in range(old.shape[1]):
            if marks[column]:
                expected = old[:, column] - 0.1 * np.asarray(gradient)[:, column]
            else:
                expected = old[:, column] * (1 - 0.1 / np.linalg.norm(old[:, column]))
            np.testing.assert_allclose(new[:, column], expected, atol=1e-5)


def test_wrong_arguments_are_refused():
    student, _ = student_of("small_cnn", alpha=0.5, size=16, dim=6)
    with pytest.raises(ArgumentError, match="has no compactors"):
        CapacityDistiller(student)
    with pytest.raises(ArgumentError, match="above 0"):
        CapacityDistiller(insert_compactors(student), lasso=0)


def test_it_survives_saving_and_a_fresh_process(fresh, tmp_path):
    distiller, pixels, teacher = _distiller(lasso=0.03)
    distiller.compactors[0].kept.assign(np.arange(8) % 2)
    distiller.fit(pixels, teacher, epochs=2, verbose=0)
    distiller.save(tmp_path / "distiller.keras")
    np.save(tmp_path / "pixels.npy", pixels)
    code = (
        "import json, sys, keras, numpy as np, kdistill.compression\n"
        "model = keras.saving.load_model(sys.argv[1] + '/distiller.keras', compile=False)\n"
        "kept = np.asarray(model.compactors[0].kept).tolist()\n"
        "small = kdistill.compression.merge(model.student)\n"
        "pixels = np.load(sys.argv[1] + '/pixels.npy')\n"
        "outputs = [network(pixels).numpy().tolist() for network in (model.student, small)]\n"
        "print(json.dumps([model.lasso, kept, *outputs]))\n"
    )
    lasso, kept, embeddings, merged = json.loads(fresh(code, tmp_path).splitlines()[-1])
    assert lasso == 0.03
    assert kept == [0, 1] * 4
    np.testing.assert_allclose(embeddings, distiller.student(pixels), atol=1e-5)
    np.testing.assert_allclose(merged, embeddings, atol=1e-4)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Settings, images, labels and answers of a small run: bars in six directions, a teacher that knows them."""
    root = tmp_path_factory.mktemp("bars")
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 32)] * 2), -1)
    names, labels, images = [f"{number}.png" for number in range(72)], np.arange(72) % 6, []
    for name, label in zip(names, labels, strict=True):
        bar = np.abs(np.cos(label * np.pi / 6) * grid[..., 0] + np.sin(label * np.pi / 6) * grid[..., 1]) < 0.3
        images.append(np.clip(bar[..., None] * 150 + rng.normal(50, 40, (32, 32, 3)), 0, 255).astype(np.uint8))
        PIL.Image.fromarray(images[-1]).save(root / name)
    (root / "pool.txt").write_text("\n".join(names) + "\n")
    lines = "".join(f"{name}, {label}\n" for name, label in zip(names[:18], labels[:18], strict=True))
    (root / "test.txt").write_text(lines)
    vectors = np.concatenate([np.eye(6)[labels], 0.3 * rng.normal(size=(72, 4))], 1).astype(np.float32)
    settings = Settings.of(
        workdir=str(root / "run"),
        dataset="lists",
        data_dir=str(root),
        val_file="test.txt",
        backbone="small_cnn",
        image_size=32,
        embedding_dim=12,
        augment=False,
        learning_rate=3e-3,
        steps=240,
        batch_size=24,
        mixtures=16,
        evaluations=8,
        target_flops=0.3,
    )
    workdir = Workdir(settings.run.workdir)
    np.savez(workdir.answers, ids=np.array(names), embeddings=vectors)
    return settings, np.stack(images), labels


@pytest.mark.both_stacks
@pytest.mark.long
def test_the_stage_meets_the_target_with_a_plain_student_and_continues_after_a_kill(run, tmp_path, monkeypatch):
    settings, pixels, labels = run
    workdir = Workdir(settings.run.workdir)
    distill(settings, workdir)
    whole = keras.saving.load_model(workdir.student, compile=False)
    large = keras.saving.load_model(workdir.checkpoints / "large.keras", compile=False)
    assert 0.25 * count_flops(large) < count_flops(whole) <= 0.3 * count_flops(large)
    assert whole.count_params() < 0.6 * large.count_params()
    assert {type(layer) for layer in whole.layers} <= {type(layer) for layer in large.layers}
    embeddings = np.asarray(whole(pixels))
    assert evaluate_leave_one_out(embeddings, labels).map > 0.8
    steps = [json.loads(line)["step"] for line in workdir.history.read_text().splitlines()]
    assert steps == [30 * epoch for epoch in range(1, 9)]

    # The same run, killed in the middle of the shrinking.
    other = Workdir(tmp_path / "run")
    other.answers.write_bytes(workdir.answers.read_bytes())

    class Kill(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(compact, "StopOnNaN", Kill)
    with pytest.raises(KeyboardInterrupt):
        distill(settings.changed(workdir=str(other.path)), other)
    monkeypatch.undo()
    assert not other.student.exists()
    distill(settings.changed(workdir=str(other.path)), other)
    again = keras.saving.load_model(other.student, compile=False)
    np.testing.assert_allclose(again(pixels), embeddings, atol=1e-4)


def test_wrong_targets_and_phases_are_refused(run):
    settings, _, _ = run
    both = settings.changed(target_params=0.5)
    with pytest.raises(ArgumentError, match="one of them decides"):
        compact.compacts(both)
    assert not compact.compacts(settings.changed(target_flops=0.0))
    with pytest.raises(ArgumentError, match="neighbours, loss"):
        compact.compacts(settings.changed(channel_importance="size"))
    with pytest.raises(ArgumentError, match="three phases"):
        compact.phases_of(settings.changed(evaluations=2))
    with pytest.raises(ArgumentError, match="one after the other"):
        compact.phases_of(settings.changed(shrink_from=0.7))
    assert [(p.first, p.last) for p in compact.phases_of(settings)] == [(0, 2), (2, 5), (5, 8)]


@pytest.mark.long
def test_a_target_in_parameters_is_met(run):
    settings, _, _ = run
    student, pixels = student_of("small_cnn", size=32, dim=6)
    few = settings.changed(target_flops=0.0, target_params=0.4, steps=6, channel_importance="loss")
    teacher = np.random.default_rng(0).normal(size=(len(pixels), 5)).astype(np.float32)

    def fit(distiller, phase):
        schedule = [distiller.schedule] if hasattr(distiller, "schedule") else []
        steps = phase.last - phase.first
        distiller.fit(pixels, teacher, batch_size=12, epochs=steps, callbacks=schedule, verbose=0)

    small = compact.distill_to_target(
        few, student, pixels, teacher, lambda network, kind, **options: kind(network, **options), fit
    )
    assert small.count_params() <= 0.4 * student.count_params()


def test_columns_that_are_not_kept_end_at_zero_so_merging_loses_nothing(run):
    _, pixels, labels = run
    student, _ = student_of("small_cnn", size=32, dim=6)
    teacher = np.eye(6, 8, dtype=np.float32)[labels]
    compacted = insert_compactors(student)
    distiller = CapacityDistiller(compacted, lasso=0.1)
    distiller.compile(keras.optimizers.Adam(1e-3))
    for compactor in distiller.compactors:
        compactor.kept.assign(np.arange(compactor.kept.shape[0]) % 3 == 0)
    distiller.fit(pixels, teacher, batch_size=24, epochs=5, verbose=0)
    for compactor in distiller.compactors:
        np.testing.assert_array_equal(np.asarray(compactor.norms()) == 0, np.asarray(compactor.kept) == 0)
    np.testing.assert_allclose(merge(compacted)(pixels), compacted(pixels), atol=1e-4)
