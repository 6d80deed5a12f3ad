"""Evaluation with labels against naive loops."""

import tracemalloc

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdistill.errors import ArgumentError, KdistillError
from kdistill.evaluation import StackedRows, evaluate_leave_one_out, evaluate_query_gallery
from kdistill.evaluation.blockwise import similarity as blocks


@st.composite
def labelled_integers(draw):
    rows = draw(st.integers(2, 25))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    return random.integers(-2, 3, (rows, 3)), random.integers(0, 4, rows)


@given(labelled_integers())
@settings(deadline=None, max_examples=60)
def test_leave_one_out_equals_a_naive_loop_ties_included(case):
    embeddings, labels = case
    precisions, first, map_at_r, r_precision = [], [], [], []
    for query in range(len(labels)):
        order = [i for i in naive.ranking(embeddings @ embeddings[query]) if i != query]
        hits = [bool(labels[i] == labels[query]) for i in order]
        count = sum(hits)
        if count:
            precisions.append(naive.average_precision(hits))
            first.append(hits[0])
            map_at_r.append(sum(sum(hits[: i + 1]) / (i + 1) for i in range(count) if hits[i]) / count)
            r_precision.append(sum(hits[:count]) / count)
    if not precisions:
        with pytest.raises(KdistillError, match="nothing to evaluate"):
            evaluate_leave_one_out(embeddings, labels, similarity="dot")
        return
    scores = evaluate_leave_one_out(embeddings, labels, similarity="dot")
    assert scores.queries == len(precisions)
    assert scores.map == pytest.approx(np.mean(precisions), abs=1e-12)
    figures = scores.as_dict()
    assert figures["recall_at_1"] == pytest.approx(np.mean(first), abs=1e-12)
    assert figures["map_at_r"] == pytest.approx(np.mean(map_at_r), abs=1e-12)
    assert figures["r_precision"] == pytest.approx(np.mean(r_precision), abs=1e-12)


@pytest.fixture(scope="module")
def case():
    random = np.random.default_rng(3)
    labels = random.integers(0, 6, 120)
    return random.standard_normal((120, 8)).astype(np.float32) + np.eye(8)[labels], labels


def test_queries_search_a_gallery_of_its_own(case):
    embeddings, labels = case
    scores = evaluate_query_gallery(embeddings[:20], embeddings[20:], labels[:20], labels[20:], similarity="dot")
    expected = [
        naive.average_precision([bool(labels[20 + i] == label) for i in naive.ranking(embeddings[20:] @ query)])
        for query, label in zip(embeddings[:20], labels[:20], strict=True)
    ]
    assert scores.map == pytest.approx(np.mean(expected), abs=1e-12)


def test_small_budget_and_large_classes_give_the_same_figures(case, monkeypatch):
    embeddings, labels = case
    whole = evaluate_leave_one_out(embeddings, labels, teacher=embeddings[:, :5])
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 8 * 11)
    pieces = evaluate_leave_one_out(embeddings, labels, teacher=embeddings[:, :5], max_memory_mb=16)
    assert pieces.as_dict() == pytest.approx(whole.as_dict(), abs=1e-6)


def test_cosine_does_not_depend_on_lengths(case):
    embeddings, labels = case
    lengths = np.linspace(0.1, 9, len(labels))[:, None]
    expected = evaluate_leave_one_out(embeddings, labels).map
    assert evaluate_leave_one_out(embeddings * lengths, labels).map == pytest.approx(expected, abs=1e-5)
    assert evaluate_leave_one_out(embeddings * lengths, labels, similarity="dot").map != pytest.approx(expected)


def test_a_gallery_in_several_files_is_one_gallery(case, tmp_path):
    embeddings, labels = case
    np.save(tmp_path / "rest.npy", embeddings[70:])
    stacked = StackedRows([embeddings[20:70], np.load(tmp_path / "rest.npy", mmap_mode="r")])
    arguments = {"query_labels": labels[:20], "gallery_labels": labels[20:]}
    teacher = (embeddings[:20], stacked)
    split = evaluate_query_gallery(embeddings[:20], stacked, **arguments, teacher=teacher)
    whole = evaluate_query_gallery(
        embeddings[:20], embeddings[20:], **arguments, teacher=(embeddings[:20], embeddings[20:])
    )
    assert split.as_dict() == whole.as_dict()


def test_queries_without_a_positive_leave_the_mean():
    embeddings = np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
    scores = evaluate_leave_one_out(embeddings, np.array([7, 7, 8, 9]))
    assert (scores.queries, scores.map) == (2, 1.0)


def test_constant_embeddings_are_ranked_by_position():
    labels = np.array([0, 1, 0, 1])
    scores = evaluate_leave_one_out(np.ones((4, 2), np.float32), labels, similarity="dot")
    expected = [naive.average_precision([bool(labels[i] == labels[q]) for i in range(4) if i != q]) for q in range(4)]
    assert scores.map == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e, y: (e, y[:-1]), "120 query embeddings were given with 119 labels"),
        (lambda e, y: (e[:, 0], y), r"shape \(120,\)"),
        (lambda e, y: (np.where(np.arange(120)[:, None] == 7, np.nan, e), y), "query 7 is not finite"),
    ],
)
def test_bad_input_is_named(case, change, message):
    with pytest.raises(KdistillError, match=message):
        evaluate_leave_one_out(*change(*case))


def test_a_gallery_row_that_is_not_finite_is_named(case):
    embeddings, labels = case
    gallery = embeddings.copy()
    gallery[31, 2] = np.inf
    with pytest.raises(KdistillError, match="gallery row 31 is not finite"):
        evaluate_query_gallery(embeddings, gallery, labels, labels)


def test_models_of_different_dimension_are_refused(case):
    embeddings, labels = case
    with pytest.raises(KdistillError, match="dimension 8 and the gallery has 5"):
        evaluate_query_gallery(embeddings, embeddings[:, :5], labels, labels)


@pytest.mark.parametrize("options", [{"ks": ()}, {"ks": (0,)}, {"max_memory_mb": 4}, {"similarity": "euclid"}])
def test_impossible_options_are_argument_errors(case, options):
    with pytest.raises(ArgumentError):
        evaluate_leave_one_out(*case, **options)


def test_the_memory_budget_is_kept():
    """What numpy allocates (scores, copies, temporaries; all scores at once would be 31 MiB) stays below the budget."""
    random = np.random.default_rng(0)
    gallery, queries = random.random((20_000, 16), np.float32), random.random((400, 16), np.float32)
    labels = np.arange(20_000) % 2_000
    tracemalloc.start()
    try:
        evaluate_query_gallery(queries, gallery, labels[:400], labels, max_memory_mb=16)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2**20


def test_a_part_of_the_images_searches_the_whole_gallery(case):
    embeddings, labels = case
    teacher = np.random.default_rng(4).standard_normal((120, 5)).astype(np.float32)
    chosen = np.sort(np.random.default_rng(5).permutation(120)[:30])
    found = evaluate_leave_one_out(embeddings, labels, searching=chosen, teacher=teacher)
    assert found.queries == 30
    # The same one by one, each without its own row in the gallery.
    single = []
    for row in chosen:
        rest = np.delete(np.arange(120), row)
        single.append(
            evaluate_query_gallery(
                embeddings[[row]],
                embeddings[rest],
                labels[[row]],
                labels[rest],
                teacher=(teacher[[row]], teacher[rest]),
            ).as_dict()
        )
    for name, value in found.as_dict().items():
        if name != "queries":
            assert value == pytest.approx(np.mean([scores[name] for scores in single]), abs=1e-6), name
    everything = evaluate_leave_one_out(embeddings, labels, searching=np.arange(120), teacher=teacher)
    assert everything == evaluate_leave_one_out(embeddings, labels, teacher=teacher)
