"""Training of binary codes: what the steps do, what they need, and a whole run of the command line."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.teachers.selection import write_smoke_data
from export.retriever import Retriever
from kdistill import students
from kdistill.errors import ArgumentError, KdistillError
from kdistill.hashing.codes import pack_codes
from kdistill.hashing.distiller import (
    HashDistiller,
    features_before,
    half_whitened,
    initialise_hash_head,
    rotated_directions,
)
from kdistill.hashing.fitting import fit_hash_head
from kdistill.hashing.losses import likelihood_quantisation, self_distillation
from kdistill.hashing.scores import evaluate_codes
from kdistill.hashing.views import strong_views
from kdistill.layers import JointSpaceInterpolation
from kdistill.losses import softmax_ranking
from kdistill.training.distiller import Distiller

few = settings(max_examples=10, deadline=None)


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images uint8 [48, 16, 16, 3] of six patterns, the teacher's vectors [48, 5], labels [48]."""
    rng = np.random.default_rng(0)
    labels = np.arange(48) % 6
    patterns = rng.integers(0, 200, (6, 4, 4, 3)).repeat(4, axis=1).repeat(4, axis=2)
    images = (patterns[labels] + rng.integers(0, 56, (48, 16, 16, 3))).astype(np.uint8)
    teacher = rng.normal(size=(6, 5))[labels] + 0.1 * rng.normal(size=(48, 5))
    return images, (teacher - teacher.mean(axis=0)).astype(np.float32), labels


def student_of(bits: int = 16) -> keras.Model:
    keras.utils.set_random_seed(1)
    return students.build("small_cnn", image_size=16, embedding_dim=None, hash_bits=bits)


def quality(student: keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    return evaluate_codes(pack_codes(student.predict(images, verbose=0)), labels).details["map_expected"]


def test_the_loss_is_the_sum_of_its_three_parts(problem):
    images, teacher, _ = problem
    student = student_of()
    distiller = HashDistiller(student, distillation=0.3, quantisation=0.7, seed=5)
    distiller.compile(keras.optimizers.Adam(), loss="softmax_ranking")
    codes = keras.Model(student.input, student.get_layer("hash").output)(images[:8])
    views = strong_views(images[:8], tf.constant([5, 11]))
    expected = (
        softmax_ranking(teacher[:8], student(images[:8]))
        + 0.7 * likelihood_quantisation(codes)
        + 0.3 * self_distillation(student(images[:8]), student(views))
    )
    # Batch statistics would move between the calls, so everything is compared as in inference.
    for layer in student.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    got = distiller.view_losses(tf.constant(images[:8]), teacher[:8], tf.constant(11))
    assert float(got) == pytest.approx(float(expected), rel=1e-4)


def test_two_given_views_are_taken_as_they_are(problem):
    images, teacher, _ = problem
    distiller = HashDistiller(student_of(), distillation=1.0, quantisation=0.0)
    distiller.compile(keras.optimizers.Adam(), loss="softmax_ranking")
    for layer in distiller.student.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    pair = tf.constant(images[:8])
    ranking = distiller.joint_loss(teacher[:8], distiller.student(pair))
    # A view is like itself: nothing is left of the self-distillation.
    same = float(distiller.view_losses((pair, pair), teacher[:8], tf.constant(0)))
    assert same == pytest.approx(float(ranking), abs=1e-5)
    assert float(distiller.view_losses((pair, pair[::-1]), teacher[:8], tf.constant(0))) > same + 1e-3


@pytest.mark.long
@pytest.mark.both_stacks
@pytest.mark.parametrize("supervised", [False, True])
def test_a_real_fit_makes_codes_better_than_at_the_start(problem, supervised):
    images, teacher, labels = problem
    student = student_of()
    before = quality(student, images, labels)
    options = {"num_classes": 6} if supervised else {"interpolation": JointSpaceInterpolation(16, seed=0)}
    distiller = HashDistiller(student, **options)
    distiller.compile(keras.optimizers.Adam(3e-3), loss="softmax_ranking")
    targets = labels if supervised else teacher
    history = distiller.fit(images, targets, batch_size=24, epochs=25, verbose=0).history["loss"]
    assert history[-1] < 0.7 * history[0]
    assert quality(student, images, labels) > before + 0.1


def test_weights_stand_once_in_the_distiller(problem):
    student = student_of()
    assert len(HashDistiller(student).trainable_variables) == len(student.trainable_variables)
    assert len(HashDistiller(student, num_classes=3).trainable_variables) == len(student.trainable_variables) + 1


def test_it_is_rebuilt_from_its_config():
    distiller = HashDistiller(student_of(), distillation=0.2, quantisation=0.3, num_classes=4, seed=9)
    rebuilt = HashDistiller.from_config(distiller.get_config())
    for name in ("distillation", "quantisation", "sigma", "num_classes", "proxy_temperature", "seed"):
        assert getattr(rebuilt, name) == getattr(distiller, name)
    assert rebuilt.student.output_shape == (None, 16)


def test_a_student_without_codes_and_strengths_below_zero_are_refused():
    with pytest.raises(ArgumentError, match="has 0 hash heads"):
        HashDistiller(students.build("small_cnn", image_size=16, embedding_dim=8))
    with pytest.raises(ArgumentError, match="quantisation=-1"):
        HashDistiller(student_of(), quantisation=-1)


def test_the_head_starts_with_bits_that_are_set_in_half_of_the_images(problem):
    images, _, labels = problem
    student = student_of(bits=8)
    student.get_layer("hash").set_weights([np.ones((64, 8)), np.ones(8), np.ones(8)])
    assert len(np.unique(pack_codes(student.predict(images, verbose=0)))) == 1
    initialise_hash_head(student, images)
    codes = student.predict(images, verbose=0) >= 0
    assert np.abs(codes.mean(axis=0) - 0.5).max() <= 0.1
    assert quality(student, images, labels) > 0.5
    assert isinstance(HashDistiller(student), Distiller)


@few
@given(seed=st.integers(0, 2**32 - 1), bits=st.sampled_from([8, 16]))
def test_turned_directions_share_the_roots_of_the_deviations_out_over_all_bits(seed, bits):
    features = np.random.default_rng(seed).normal(size=(30, 12)) * np.arange(1, 13)
    directions = rotated_directions(features, bits, seed=0)
    count = min(bits, 12)
    assert directions.shape == (12, count)
    centred = features - features.mean(axis=0)
    # A rotation keeps singular values: those of the features, each divided by its root (relative to the largest).
    sizes = np.linalg.svd(centred, compute_uv=False)[:count]
    got = np.linalg.svd(centred @ directions, compute_uv=False)
    np.testing.assert_allclose(got, np.sqrt(sizes * sizes[0]), rtol=1e-6)
    shares = np.square(centred @ directions).sum(axis=0)
    assert shares.max() < 6 * shares.mean()


def test_images_that_all_look_alike_give_no_start():
    with pytest.raises(KdistillError, match="features of all images are equal"):
        rotated_directions(np.ones((5, 4)), 8, seed=0)


def test_half_whitening_divides_by_the_roots_of_the_deviations():
    # Three directions of norm 1 with deviations 2 : 1; in their own axes, each is divided by its root.
    angles = np.array([[0.6, 0.8, 0.0], [-0.6, 0.8, 0.0], [0.0, 0.8, 0.6], [0.0, 0.8, -0.6]])
    angles[:2] *= 3.0
    # Norms are taken off first, so that all four rows are alike up to the axis: no direction is stronger.
    got = half_whitened(angles)
    np.testing.assert_allclose(
        got @ got.T, 0.36 * np.array([[1, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 1, -1], [0, 0, -1, 1]]), atol=1e-9
    )
    rows = np.array(
        [[0.8, 0.6, 0, 0], [-0.8, 0.6, 0, 0], [0, 0.6, 0.8, 0], [0, 0.6, -0.8, 0], [0.8, 0.6, 0, 0], [-0.8, 0.6, 0, 0]]
    )
    # The first axis holds twice the variance of the third: 4 * 0.64 and 2 * 0.64, roots of the deviations 2 ** 0.25.
    np.testing.assert_allclose(np.sort(np.abs(half_whitened(rows)[:, :2]).max(axis=0)), [0.8, 0.8 * 2**0.25], atol=1e-9)


@pytest.mark.long
def test_a_fitted_head_ranks_other_views_as_the_features_do(problem):
    images, _, _ = problem
    noise = np.random.default_rng(4).integers(-20, 21, (2, *images.shape))
    views = [np.clip(images + change, 0, 255).astype(np.uint8) for change in noise]
    student = student_of()
    initialise_hash_head(student, images)
    before = [np.array(layer.get_weights()[0]) for layer in student.layers if layer.get_weights()]
    wanted = half_whitened(features_before(student, images)).astype(np.float32)

    def loss() -> float:
        codes = student.predict(views[0], verbose=0)
        return float(softmax_ranking(wanted, codes, teacher_temperature=0.05, student_temperature=0.15))

    start = loss()
    fit_hash_head(student, images, views, steps=60)
    assert loss() < 0.9 * start
    after = [np.array(layer.get_weights()[0]) for layer in student.layers if layer.get_weights()]
    # Only the head has changed.
    assert [np.array_equal(*pair) for pair in zip(before, after, strict=True)] == [True] * (len(before) - 1) + [False]
    with pytest.raises(ArgumentError, match=r"all 48 images .* hold \[47\]"):
        fit_hash_head(student, images, [images[1:]])
    with pytest.raises(ArgumentError, match=r"hold \[\]"):
        fit_hash_head(student, images, [])


def test_strong_views_repeat_with_their_seed_and_differ_from_the_image(problem):
    images = problem[0]
    one, same, other = (strong_views(images, tf.constant([0, step])).numpy() for step in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert one.shape == images.shape
    assert one.min() >= 0
    assert one.max() <= 255.5
    changed = np.abs(one - images).mean(axis=(1, 2, 3))
    assert (changed > 5).mean() > 0.8
    assert np.abs(one - other).mean() > 5


@pytest.mark.long
def test_a_run_from_the_command_line_makes_a_retriever_of_codes(tmp_path):
    flags = [*write_smoke_data(tmp_path), "--dataset=lists", f"--teacher={tmp_path}/teacher_expert.npz"]
    flags += ["--query_budget=12", "--hash_bits=16", "--embedding_dim=0", "--batch_size=8", f"--workdir={tmp_path}/run"]
    command = [sys.executable, "-m", "main", *flags, "--export_if_not_better", "--stages=ask,distill,evaluate,export"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    rows = {row["name"]: row for row in json.loads((tmp_path / "run/metrics.json").read_text())["rows"]}
    assert 0 < rows["student_codes"]["map"] <= 1
    assert 0 < rows["student_codes_asymmetric"]["map"] <= 1
    with np.load(tmp_path / "run/gallery.npz") as gallery:
        embeddings = gallery["embeddings"]
    for suffix in (".tflite", ".onnx"):
        retriever = Retriever(tmp_path / f"run/retriever{suffix}")
        match = retriever.search_embedding(embeddings[3])[0]
        # Another image may have the same code. No other code is nearer to an embedding than its own, at |h| / sqrt(K).
        assert match.score == pytest.approx(np.abs(embeddings[3]).sum() / 4, abs=0.01)
