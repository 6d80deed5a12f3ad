"""The projection of a teacher's space and the ridge map into it, against formulas and naive loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdistill import students
from kdistill.errors import KdistillError
from kdistill.files.whole import write_arrays
from kdistill.space.projection import fit_projection, read_projection
from kdistill.space.ridge import STRENGTHS, fit_ridge
from kdistill.space.turning import query_turn, turn_queries


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 12), st.integers(1, 12), st.integers(1, 40))
def test_a_projection_is_orthonormal_and_gives_unit_rows(seed, size, dimension, count):
    vectors = np.random.default_rng(seed).normal(size=(count, size))
    projection = fit_projection(vectors, dimension)
    kept = min(dimension, size)
    np.testing.assert_allclose(projection.axes.T @ projection.axes, np.eye(kept), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(projection.transform(vectors), axis=1), 1, atol=1e-5)
    assert projection.whole == (dimension >= size)
    assert projection.spanned <= kept


def test_vectors_of_a_plane_keep_all_their_cosines_in_two_dimensions():
    random = np.random.default_rng(0)
    vectors = unit(random.normal(size=(30, 2)) @ random.normal(size=(2, 9)))
    kept = fit_projection(vectors, 2).transform(vectors)
    np.testing.assert_allclose(kept @ kept.T, vectors @ vectors.T, atol=1e-5)


def test_no_other_projection_keeps_more_of_the_vectors():
    random = np.random.default_rng(1)
    vectors = unit(random.normal(size=(50, 8)) * np.arange(1, 9))
    axes = fit_projection(vectors, 3).axes
    kept = np.sum((vectors @ axes) ** 2)
    for _ in range(20):
        other = np.linalg.qr(random.normal(size=(8, 3)))[0]
        assert np.sum((vectors @ other) ** 2) <= kept + 1e-6


def test_fewer_vectors_than_dimensions_are_said_and_all_dimensions_are_kept_as_they_are():
    vectors = np.random.default_rng(2).normal(size=(3, 10))
    assert fit_projection(vectors, 5).spanned == 3
    whole = fit_projection(vectors, 0)
    np.testing.assert_array_equal(whole.axes, np.eye(10))
    np.testing.assert_allclose(whole.transform(vectors), unit(vectors), atol=1e-6)


def test_a_projection_refuses_no_vectors_another_dimension_and_other_files(tmp_path):
    with pytest.raises(KdistillError, match="there is none"):
        fit_projection(np.zeros((0, 4)), 2)
    with pytest.raises(KdistillError, match=r"4 dimensions; vectors of shape \[2, 5\]"):
        fit_projection(np.eye(4), 2).transform(np.ones((2, 5)))
    write_arrays(tmp_path / "space.npz", axes=np.ones(3, np.float32), spanned=np.array(1))
    with pytest.raises(KdistillError, match=r"space\.npz is no space\.npz of a run"):
        read_projection(tmp_path / "space.npz")


def test_the_ridge_map_is_the_one_with_the_best_cosine_without_each_pair():
    random = np.random.default_rng(3)
    features = unit(random.normal(size=(25, 6)))
    targets = unit(features @ random.normal(size=(6, 4)) + 0.5 * random.normal(size=(25, 4)))
    scale = np.mean(np.linalg.svd(features, compute_uv=False) ** 2)

    def solved(rows, wanted, strength):
        return np.linalg.solve(rows.T @ rows + strength * scale * np.eye(6), rows.T @ wanted)

    def without_each(strength):
        found = []
        for row in range(25):
            rest = np.arange(25) != row
            guess = features[row] @ solved(features[rest], targets[rest], strength)
            found.append(guess @ targets[row] / np.linalg.norm(guess))
        return np.mean(found)

    best = max(STRENGTHS, key=without_each)
    np.testing.assert_allclose(fit_ridge(features, targets), solved(features, targets, best), atol=1e-5)


def test_a_rotation_is_found_again_from_more_pairs_than_dimensions():
    random = np.random.default_rng(4)
    rotation = np.linalg.qr(random.normal(size=(5, 5)))[0]
    features = unit(random.normal(size=(40, 5)))
    np.testing.assert_allclose(fit_ridge(features, features @ rotation), rotation, atol=1e-3)


def test_a_map_needs_two_pairs():
    with pytest.raises(KdistillError, match="two pairs or more; 1 and 1"):
        fit_ridge(np.ones((1, 3)), np.ones((1, 2)))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_queries_are_turned_by_a_power_of_the_second_moment(power):
    random = np.random.default_rng(5)
    known = unit(random.normal(size=(40, 5)) + 1.0)
    moment = known.T @ known / 40
    wanted = np.linalg.matrix_power(np.linalg.inv(moment / np.trace(moment) * 5 + 0.3 * np.eye(5)), 1)
    turn = query_turn(known, power)
    np.testing.assert_allclose(turn, turn.T, atol=1e-6)
    if power == 0.5:
        turn, power = turn @ turn, 1.0
    np.testing.assert_allclose(turn, wanted if power else np.eye(5), atol=1e-4)


def test_a_turned_query_finds_more_where_all_vectors_share_a_direction():
    random = np.random.default_rng(6)
    shared = 3 * np.ones(8)
    centres = random.normal(size=(20, 8))
    gallery = unit(centres.repeat(10, axis=0) + 0.4 * random.normal(size=(200, 8)) + shared)
    # A map that is not sure keeps what all vectors share, and a part of the rest.
    queries = 0.15 * centres + 0.05 * random.normal(size=(20, 8)) + shared
    truth = np.arange(200) // 10

    def precision(asking):
        order = np.argsort(-(unit(asking) @ gallery.T), axis=1)[:, :10]
        return np.mean(truth[order] == np.arange(20)[:, None])

    assert precision(queries @ query_turn(gallery, 0.5)) > precision(queries) + 0.1
    with pytest.raises(KdistillError, match="there is none"):
        query_turn(np.zeros((0, 8)), 0.5)


def test_turning_a_student_multiplies_what_it_embeds():
    student = students.build("small_cnn", alpha=0.25, image_size=16, embedding_dim=4)
    pixels = np.random.default_rng(7).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    before = student.predict(pixels, verbose=0)
    turn = np.random.default_rng(8).normal(size=(4, 4)).astype(np.float32)
    turn_queries(student, turn)
    np.testing.assert_allclose(student.predict(pixels, verbose=0), unit(before @ turn), atol=1e-4)
