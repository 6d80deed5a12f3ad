"""The trainer: what a step computes, what it leaves alone, and one real fit."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdistill import losses, students
from kdistill.errors import KdistillError
from kdistill.evaluation import evaluate_leave_one_out
from kdistill.evaluation.held_out import held_out_agreement
from kdistill.layers import EmbeddingBank, JointSpaceInterpolation
from kdistill.training.callbacks import HistoryFile, ResumableCheckpoint, RetrievalEvaluation, StopOnNaN, read_history
from kdistill.training.distiller import Distiller

SIZE = 16


def _student(seed=0, dim=8):
    keras.utils.set_random_seed(seed)
    return students.build("small_cnn", alpha=0.5, image_size=SIZE, embedding_dim=dim)


@pytest.fixture(scope="module")
def shapes():
    """Noisy bars in six directions: pixels, class labels, and a teacher that knows the direction exactly."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 20)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, SIZE)] * 2), -1)
    angles = labels * np.pi / 6
    bars = np.abs(np.cos(angles)[:, None, None] * grid[..., 0] + np.sin(angles)[:, None, None] * grid[..., 1]) < 0.3
    pixels = np.clip(bars[..., None] * 150 + rng.normal(50, 40, (120, SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
    teacher = np.concatenate([np.eye(6)[labels], 0.3 * rng.normal(size=(120, 4))], 1).astype(np.float32)
    return pixels, labels, teacher


def _compiled(student, loss="softmax_ranking", rate=3e-3, **options):
    distiller = Distiller(student, **options)
    distiller.compile(keras.optimizers.Adam(rate), loss=loss)
    return distiller


def test_fit_teaches_the_student_to_rank(shapes):
    pixels, labels, teacher = shapes
    student = _student()
    before = evaluate_leave_one_out(student(pixels).numpy(), labels).map
    distiller = _compiled(student, interpolation=JointSpaceInterpolation(32))
    history = distiller.fit(pixels, teacher, batch_size=40, epochs=30, verbose=0)
    after = evaluate_leave_one_out(student(pixels).numpy(), labels).map
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    assert after > before + 0.2


@pytest.mark.long
@pytest.mark.both_stacks
def test_same_seed_same_student(shapes):
    pixels, _, teacher = shapes
    results = []
    for _ in range(2):
        student = _student(seed=5)
        distiller = _compiled(student, interpolation=JointSpaceInterpolation(16, seed=3))
        distiller.fit(pixels[:40], teacher[:40], batch_size=20, epochs=2, shuffle=False, verbose=0)
        results.append(student(pixels[:10]).numpy())
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)


def test_loss_of_a_step_is_the_loss_over_the_joint_rows(shapes):
    pixels, _, teacher = shapes
    embeddings = _student()(pixels[:12])
    first, second = (JointSpaceInterpolation(7, seed=2) for _ in range(2))
    distiller = _compiled(_student(), interpolation=first, anchors="both", rank_parents=True)
    rows, answers, _ = second((embeddings, tf.constant(teacher[:12])), evaluating=True)
    # Every row against every other one is what the loss does without a mask.
    expected = losses.get("softmax_ranking")(answers, rows)
    np.testing.assert_allclose(distiller.joint_loss(teacher[:12], embeddings), expected, rtol=1e-5)


def test_teacher_dimension_is_free_and_projection_is_dropped(shapes):
    pixels, _, teacher = shapes
    student = _student(dim=5)
    distiller = _compiled(student, loss="regression", projection_dim=teacher.shape[1])
    distiller.fit(pixels[:40], teacher[:40], batch_size=20, verbose=0)
    assert student(pixels[:2]).shape == (2, 5)
    assert len(distiller.trainable_variables) == len(student.trainable_variables) + 1 + 1


def test_bank_adds_rows_only_in_training(shapes):
    pixels, _, teacher = shapes
    student = _student()
    distiller = _compiled(student, interpolation=JointSpaceInterpolation(8), bank=EmbeddingBank(30))
    distiller.fit(pixels[:40], teacher[:40], batch_size=20, epochs=1, verbose=0)
    stored = distiller.bank.teacher_rows.numpy()
    assert (np.linalg.norm(stored, axis=1) > 0.99).all()
    distiller.evaluate(pixels[:40], teacher[:40], batch_size=20, verbose=0)
    np.testing.assert_array_equal(distiller.bank.teacher_rows.numpy(), stored)


def test_labels_as_targets(shapes):
    pixels, labels, _ = shapes
    student = _student()
    before = evaluate_leave_one_out(student(pixels).numpy(), labels).map
    distiller = _compiled(student, loss="contrastive", rate=1e-3)
    distiller.fit(pixels, labels, batch_size=40, epochs=20, verbose=0)
    assert evaluate_leave_one_out(student(pixels).numpy(), labels).map > before + 0.1


@pytest.mark.long
@pytest.mark.both_stacks
def test_mixed_precision_and_tiny_batches_stay_finite(shapes):
    pixels, _, teacher = shapes
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        student = _student()
        distiller = Distiller(student, JointSpaceInterpolation(8), EmbeddingBank(16))
        optimizer = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.Adam(1e-3))
        distiller.compile(optimizer)
        for batch in (1, 2, 16):
            history = distiller.fit(pixels[:batch], teacher[:batch], batch_size=batch, epochs=3, verbose=0)
            assert np.isfinite(history.history["loss"]).all()
        assert student(pixels[:2]).dtype == tf.float32
        assert all(np.isfinite(weight).all() for weight in student.get_weights())
    finally:
        keras.mixed_precision.set_global_policy("float32")


@pytest.mark.long
@pytest.mark.both_stacks
def test_xla_gives_the_same_loss(fresh):
    # In a process of its own: where operations were made deterministic, Keras compiles nothing.
    code = (
        "import json, keras, numpy as np\n"
        "from kdistill import students\n"
        "from kdistill.training.distiller import Distiller\n"
        "random = np.random.default_rng(0)\n"
        "pixels = random.integers(0, 256, (16, 16, 16, 3), np.uint8)\n"
        "teacher = random.normal(size=(16, 6)).astype(np.float32)\n"
        "values = []\n"
        "for jit_compile in (False, True):\n"
        "    keras.utils.set_random_seed(0)\n"
        "    distiller = Distiller(students.build('small_cnn', image_size=16, embedding_dim=8))\n"
        "    distiller.compile(keras.optimizers.SGD(1e-3), jit_compile=jit_compile)\n"
        "    history = distiller.fit(pixels, teacher, batch_size=16, verbose=0)\n"
        "    values.append([history.history['loss'][0], bool(distiller.jit_compile)])\n"
        "print(json.dumps(values))\n"
    )
    (plain, _), (compiled, is_compiled) = json.loads(fresh(code).splitlines()[-1])
    assert is_compiled
    np.testing.assert_allclose(plain, compiled, rtol=1e-3)


def test_retrieval_evaluation_feeds_callbacks_after_it(shapes):
    pixels, labels, teacher = shapes
    student = _student()
    evaluation = RetrievalEvaluation(pixels, labels)
    stop = keras.callbacks.EarlyStopping(monitor="val_map", mode="max", patience=2, restore_best_weights=True)
    distiller = _compiled(student, rate=1.0)  # far too much: the quality falls
    history = distiller.fit(pixels, teacher, batch_size=40, epochs=20, callbacks=[evaluation, stop], verbose=0)
    assert len(history.history["val_map"]) < 20
    best = max(history.history["val_map"])
    assert best > history.history["val_map"][-1] + 2e-3
    # In the evaluation's own batches: all images at once are rounded in another way, and neighbours may change places.
    restored = {}
    evaluation.on_epoch_end(0, restored)
    np.testing.assert_allclose(restored["val_map"], best, atol=1e-6)
    np.testing.assert_allclose(evaluate_leave_one_out(student(pixels).numpy(), labels).map, best, atol=1e-3)
    queries = RetrievalEvaluation(pixels[::2], labels[::2], pixels[1::2], labels[1::2])
    queries.set_model(distiller)
    queries.set_params({"epochs": 1})
    logs = {}
    queries.on_epoch_end(0, logs)
    assert 0 < logs["val_map"] <= 1
    with pytest.raises(KdistillError, match="together"):
        RetrievalEvaluation(pixels, labels, pixels)
    with pytest.raises(KdistillError, match="give one of them"):
        RetrievalEvaluation(pixels)


def test_retrieval_evaluation_without_labels_follows_the_teacher(shapes):
    pixels, _, teacher = shapes
    student = _student()
    distiller = _compiled(student)
    evaluation = RetrievalEvaluation(pixels, teacher=teacher)
    history = distiller.fit(pixels, teacher, batch_size=40, epochs=8, callbacks=[evaluation], verbose=0).history
    assert history["val_overlap_at_10"][-1] > history["val_overlap_at_10"][0]
    found = held_out_agreement(student(pixels).numpy(), teacher).as_dict()
    assert history["val_overlap_at_10"][-1] == pytest.approx(found["overlap_at_10"], abs=1e-6)
    assert history["val_first_in_10"][-1] == pytest.approx(found["first_in_10"], abs=1e-6)
    with pytest.raises(KdistillError, match="leave-one-out"):
        RetrievalEvaluation(pixels, queries=pixels, query_labels=np.zeros(len(pixels)), teacher=teacher)


@pytest.mark.long
@pytest.mark.both_stacks
def test_interrupted_training_ends_as_the_uninterrupted(shapes, tmp_path):
    pixels, _, teacher = shapes

    def train(directory, epochs):
        student = _student(seed=1)
        distiller = _compiled(student, interpolation=JointSpaceInterpolation(8), bank=EmbeddingBank(30))
        checkpoint = ResumableCheckpoint(distiller, directory)
        done = checkpoint.restore()
        history = HistoryFile(directory / "history.jsonl", done)
        batches = tf.data.Dataset.from_tensor_slices((pixels[:40], teacher[:40])).batch(20)
        callbacks = [StopOnNaN(), history, checkpoint]
        distiller.fit(batches, epochs=epochs, initial_epoch=done // 2, callbacks=callbacks, shuffle=False, verbose=0)
        return student(pixels[:10]).numpy(), done

    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole, _ = train(tmp_path / "whole", 4)
    train(tmp_path / "parts", 2)
    parts, done = train(tmp_path / "parts", 4)
    assert done == 4
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    assert [line["step"] for line in read_history(tmp_path / "parts" / "history.jsonl")] == [2, 4, 6, 8]
    # A damaged last checkpoint: the one before is used; without any, one sentence.
    data = sorted((tmp_path / "parts").glob("ckpt-*.data*"))
    data[-1].write_bytes(data[-1].read_bytes()[:100])
    assert train(tmp_path / "parts", 4)[1] == 6
    for file in (tmp_path / "parts").glob("ckpt-*.data*"):
        file.write_bytes(b"")
    with pytest.raises(KdistillError, match=r"no checkpoint in .* can be read"):
        train(tmp_path / "parts", 4)


@pytest.mark.long
@pytest.mark.both_stacks
def test_keras_backup_and_restore_works_with_the_distiller(shapes, tmp_path):
    pixels, _, teacher = shapes

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise RuntimeError("power cut")

    def backup():
        return keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))

    distiller = _compiled(_student(seed=1), interpolation=JointSpaceInterpolation(8))
    with pytest.raises(RuntimeError, match="power cut"):
        distiller.fit(pixels[:40], teacher[:40], epochs=4, callbacks=[backup(), Interrupt()], verbose=0)
    distiller = _compiled(_student(seed=1), interpolation=JointSpaceInterpolation(8))
    history = distiller.fit(pixels[:40], teacher[:40], epochs=4, callbacks=[backup()], verbose=0)
    assert history.epoch == [2, 3]


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(shapes, tmp_path):
    pixels, _, teacher = shapes
    teacher = teacher.copy()
    distiller = _compiled(_student(), loss=keras.losses.MeanSquaredError(), projection_dim=teacher.shape[1])
    checkpoint = ResumableCheckpoint(distiller, tmp_path)
    distiller.fit(pixels[:20], teacher[:20], epochs=1, callbacks=[StopOnNaN(), checkpoint], verbose=0)
    teacher[3] = np.nan
    with pytest.raises(KdistillError, match="the loss became nan at step 1"):
        # A tensor: an array is looked at before the training.
        distiller.fit(pixels[:20], tf.constant(teacher[:20]), epochs=2, callbacks=[StopOnNaN(), checkpoint], verbose=0)
    assert checkpoint.restore() == 1
    assert all(np.isfinite(weight).all() for weight in distiller.student.get_weights())


@pytest.mark.long
@pytest.mark.both_stacks
def test_distiller_survives_saving_and_a_fresh_process(fresh, shapes, tmp_path):
    pixels, _, teacher = shapes
    distiller = _compiled(_student(), interpolation=JointSpaceInterpolation(8, alpha=0.7), bank=EmbeddingBank(10))
    distiller.fit(pixels[:20], teacher[:20], verbose=0)
    distiller.save(tmp_path / "distiller.keras")
    np.save(tmp_path / "pixels.npy", pixels[:4])
    code = (
        "import json, sys, keras, numpy as np, kdistill\n"
        "model = keras.saving.load_model(sys.argv[1] + '/distiller.keras', compile=False)\n"
        "config = [model.interpolation.alpha, model.bank.size, model.anchors]\n"
        "print(json.dumps([config, model.student(np.load(sys.argv[1] + '/pixels.npy')).numpy().tolist()]))\n"
    )
    config, embeddings = json.loads(fresh(code, tmp_path).splitlines()[-1])
    assert config == [0.7, 10, "originals"]
    np.testing.assert_allclose(embeddings, distiller.student(pixels[:4]), atol=1e-5)


@pytest.mark.parametrize("bank", [None, 10])
def test_a_step_is_traced_once(bank, shapes, monkeypatch):
    """A step that created variables, of the bank or of the optimizer, would be traced a second time without them."""
    traced = []
    step = Distiller.train_step
    monkeypatch.setattr(Distiller, "train_step", lambda self, data: traced.append(1) or step(self, data))
    distiller = _compiled(_student(), bank=None if bank is None else EmbeddingBank(bank))
    batches = tf.data.Dataset.from_tensor_slices((shapes[0][:8], shapes[2][:8])).batch(4)
    distiller.fit(batches, epochs=2, shuffle=False, verbose=0)
    assert len(traced) == 1
