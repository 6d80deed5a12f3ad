"""What a form reads out of an answer: rows in the order asked, pooled tokens, choices, and what is a bad answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mock_services import send, teacher_of, truth

from kdistill.teachers import BadAnswer, Ledger, NoAnswer, ask
from kdistill.teachers.services.forms.answers import read_choice, read_rows
from kdistill.teachers.services.forms.form import read_form

OPENAI = {"vectors": "data[].embedding", "index": "data[].index"}


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 6), data=st.data())
def test_rows_come_in_the_order_asked_whatever_the_order_of_the_answer(count, data):
    order = data.draw(st.permutations(range(count)))
    kept = order[: data.draw(st.integers(1, count))]
    vectors = np.arange(count * 3.0).reshape(count, 3)
    parsed = {"data": [{"index": row, "embedding": vectors[row].tolist()} for row in kept]}
    if len(kept) == count:
        np.testing.assert_array_equal(read_rows(parsed, OPENAI, count), vectors)
        return
    with pytest.raises(NoAnswer) as caught:
        read_rows(parsed, OPENAI, count)
    np.testing.assert_array_equal(caught.value.rows, kept)
    np.testing.assert_array_equal(caught.value.embeddings, vectors[kept])


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(1, 4), min_size=2, max_size=4))
def test_flat_numbers_are_laid_out_by_the_shape(lengths):
    data = np.arange(np.prod(lengths), dtype=np.float64)
    parts = {"vectors": "outputs[name=o].data", "shape": "outputs[name=o].shape"}
    nested = {"outputs": [{"name": "other"}, {"name": "o", "shape": lengths, "data": data.tolist()}]}
    np.testing.assert_array_equal(read_rows(nested, parts, lengths[0]), data.reshape(lengths))
    with pytest.raises(BadAnswer, match="answered"):
        read_rows(nested, parts, lengths[0] + 1)


@pytest.mark.parametrize(
    "parsed",
    [
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [2.0]}]},  # one twice
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [2.0]}]},  # out of range
        {"data": [{"index": "0", "embedding": [1.0]}, {"index": 1, "embedding": [2.0]}]},
        {"data": [{"index": True, "embedding": [1.0]}, {"index": 0, "embedding": [2.0]}]},
        {"data": [{"embedding": [1.0]}]},  # a count without index
        {"data": [{"embedding": [1.0]}] * 3},
        {"data": [{"index": 0, "embedding": [1.0]}, {"embedding": [2.0]}]},
        {"data": [{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}]},
        {"data": [{"embedding": ["1"]}, {"embedding": ["2"]}]},
        {"data": {"embedding": [1.0, 2.0]}},
        {"data": None},
        {},
        [],
        None,
        "data",
    ],
)
def test_answers_of_which_nobody_can_tell_whose_they_are_are_bad(parsed):
    with pytest.raises(BadAnswer):
        read_rows(parsed, OPENAI, 2)


@pytest.mark.parametrize(
    ("shape", "data", "count"),
    [
        ([1, 3], [1.0] * 3, 2),  # one row for several images
        ([2, 3], [1.0] * 5, 2),
        ([2, -1], [1.0] * 2, 2),
        ("2,3", [1.0] * 6, 2),
        ([], [1.0], 1),
        ([2, 3], ["x"] * 6, 2),
        ([2, 10**9, 10**9], [1.0] * 2, 2),
    ],
)
def test_shapes_that_do_not_fit_are_bad(shape, data, count):
    with pytest.raises(BadAnswer):
        read_rows({"shape": shape, "data": data}, {"vectors": "data", "shape": "shape"}, count)


def test_a_missing_or_null_vector_spoils_no_other():
    parsed = {"data": [{"index": 1, "embedding": [1.0, 2.0]}, {"index": 0, "error": "x"}]}
    rows = read_rows(parsed, OPENAI, 2)
    assert np.isnan(rows[0]).all()
    assert rows[1].tolist() == [1.0, 2.0]


def test_an_answer_of_several_outputs_gives_the_one_that_counts(serve, images):
    service = serve("tfserving")
    service.answer = lambda vectors: {"predictions": [{"logits": [0.0, 0.0], "embedding": v} for v in vectors]}
    np.testing.assert_allclose(teacher_of(service).embed(images), truth(images), rtol=1e-6)
    chosen = teacher_of(service, output="logits")
    assert chosen.embed(images).tolist() == [[0.0, 0.0]] * 5
    assert chosen.view.endswith("/logits")
    with pytest.raises(BadAnswer, match="has no output 'pooled'"):
        teacher_of(service, output="pooled").embed(images)


def test_tokens_are_pooled_as_those_of_a_file(serve, images):
    service = serve("tfserving")
    service.answer = lambda vectors: {"predictions": [[v, [1.0, 2.0, 3.0]] for v in vectors]}
    with pytest.raises(BadAnswer, match="several vectors for an image; say which counts with --teacher_pooling"):
        teacher_of(service).embed(images)
    np.testing.assert_allclose(teacher_of(service, pooling="cls").embed(images), truth(images), rtol=1e-6)
    mean = (truth(images) + np.array([1.0, 2.0, 3.0])) / 2
    np.testing.assert_allclose(teacher_of(service, pooling="mean").embed(images), mean, rtol=1e-6)


def test_an_error_within_an_answer_counts_and_is_told(serve, images):
    service = serve("titan")
    service.script = [lambda handler, vectors: send(handler, 200, {"embedding": None, "message": "too dark"})]
    with pytest.raises(NoAnswer, match="too dark"):
        teacher_of(service).embed(images[:1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A", 1.0),
        (" a photo", None),
        ("B.", 0.0),
        ("**A**", 1.0),
        ("= neither", 0.5),
        ("I think A", None),
        (None, None),
    ],
)
def test_the_rules_read_a_choice_or_say_that_they_cannot(text, expected):
    found = read_choice(text, read_form("openai_choice").answer)
    assert np.isnan(found) if expected is None else found == expected


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e300])
def test_vectors_that_are_not_finite_are_bad_answers_of_their_image(number, serve, images, tmp_path):
    service = serve("openai")
    service.script = [
        lambda handler, vectors: send(
            handler, 200, {"data": [{"index": 1, "embedding": [number]}, {"index": 0, "embedding": [1.0]}]}
        )
    ]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        answers = ask(teacher_of(service), images, [0, 1], ledger, budget=2)
        assert answers.indices.tolist() == [0]
        assert (ledger.summary().bad, ledger.summary().spent) == (1, 2)
