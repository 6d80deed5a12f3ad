"""Orders from a reranker and preferences from a chat model, by their forms, against mocks of both."""

import json

import numpy as np
import pytest
from mock_services import BEARER, KEY, MOCKS, MockService, base64_file, data_uri, send, serving

from kdistill.data import Image, ImageSet
from kdistill.preferences.orders import as_order_teacher, ask_orders
from kdistill.preferences.pairs import as_preference_teacher, ask_preferences
from kdistill.teachers import BadAnswer, Ledger, NotAsked, open_teacher
from kdistill.teachers.services.forms.form import form_text, read_form

IMAGE = {"type": "image_url", "image_url": {"url": data_uri}}
QUESTION = json.loads(form_text("openai_choice"))["request"]["messages"][0]["content"][0]["text"]
RERANK = (
    "/v1/rerank",
    {"model": "m", "query": {"image": base64_file}, "documents": [{"image": base64_file}], "return_documents": False},
    lambda b: [b["query"]["image"], *(entry["image"] for entry in b["documents"])],
    lambda v: {"model": "m", "results": ranked(v)},
    BEARER,
)
CHAT = (
    "/v1/chat/completions",
    {
        "model": "m",
        "temperature": 0,
        "messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION}, IMAGE, IMAGE, IMAGE]}],
    },
    lambda b: [part["image_url"]["url"] for part in b["messages"][0]["content"][1:]],
    lambda v: said("A" if gap(v, 1) < gap(v, 2) else "B."),
    BEARER,
)


def gap(vectors, place: int) -> float:
    return abs(vectors[place][0] - vectors[0][0])


def ranked(vectors) -> list[dict]:
    """Candidates by nearness, the best first: `index` tells which they are."""
    scores = {place - 1: -gap(vectors, place) for place in range(1, len(vectors))}
    return [
        {"index": index, "relevance_score": score} for index, score in sorted(scores.items(), key=lambda one: -one[1])
    ]


def said(text) -> dict:
    return {
        "id": "1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}],
    }


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setitem(MOCKS, "jina_rerank", RERANK)
    monkeypatch.setitem(MOCKS, "openai_choice", CHAT)
    with serving() as start:
        yield start


@pytest.fixture
def pool() -> ImageSet:
    """Grey images of brightness 0, 10, 200, 60, 40, 50."""
    levels = (0, 10, 200, 60, 40, 50)
    return ImageSet([Image(f"i{n}", array=np.full((4, 4, 3), level, np.uint8)) for n, level in enumerate(levels)])


def teacher_of(service: MockService):
    return open_teacher(service.url, api=service.form, model="m", headers=["Authorization=TEACHER_KEY"], retries=0)


QUERIES, CANDIDATES = np.array([0, 3, 2]), np.array([[1, 2, 4], [5, 0, 2], [0, 1, 4]])
TRIPLES = np.array([[0, 1, 2], [0, 2, 1], [3, 5, 4]])


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_reranker_gives_orders(concurrency, serve, pool, tmp_path):
    service = serve("jina_rerank")
    teacher = as_order_teacher(teacher_of(service))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        found = ask_orders(teacher, pool, QUERIES, CANDIDATES, ledger, budget=3, concurrency=concurrency)
        assert (ledger.summary().view, ledger.summary().spent) == ("order/3/encoded", 3)
    assert service.faults == []
    assert found.candidates.tolist() == [[1, 4, 2], [5, 0, 2], [4, 1, 0]]


def test_scores_that_are_missing_or_no_numbers_spoil_no_other_order(serve, pool, tmp_path):
    service = serve("jina_rerank")
    broken = {"results": [{"index": 0, "relevance_score": 1.0}, {"index": 1}, {"index": 2, "relevance_score": "x"}]}
    service.script = [lambda handler, vectors: send(handler, 200, broken)]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        found = ask_orders(as_order_teacher(teacher_of(service)), pool, QUERIES, CANDIDATES, ledger, budget=3)
        assert (ledger.summary().bad, ledger.summary().spent) == (1, 3)
    assert found.candidates.tolist() == [[5, 0, 2], [4, 1, 0]]


def test_an_order_with_an_index_twice_ends_the_run(serve, pool, tmp_path):
    service = serve("jina_rerank")
    twice = {"results": [{"index": 0, "relevance_score": 1.0}] * 3}
    service.script = [lambda handler, vectors: send(handler, 200, twice)]
    with Ledger(tmp_path / "ledger.sqlite") as ledger, pytest.raises(BadAnswer, match="index"):
        ask_orders(as_order_teacher(teacher_of(service)), pool, QUERIES, CANDIDATES, ledger, budget=3)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_chat_model_gives_preferences(concurrency, serve, pool, tmp_path):
    service = serve("openai_choice")
    teacher = as_preference_teacher(teacher_of(service))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        found = ask_preferences(teacher, pool, TRIPLES, ledger, budget=3, concurrency=concurrency)
        assert ledger.summary().spent == 3
    assert service.faults == []
    assert found.probability.tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("text", ["They are both lovely.", "", None, {"letter": "A"}])
def test_what_the_rules_cannot_read_is_a_bad_answer_of_that_question(text, serve, pool, tmp_path):
    service = serve("openai_choice")
    service.script = [lambda handler, vectors: send(handler, 200, said(text))]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        found = ask_preferences(as_preference_teacher(teacher_of(service)), pool, TRIPLES, ledger, budget=3)
        assert (ledger.summary().bad, ledger.summary().spent) == (1, 3)
    assert found.probability.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("form", ["jina_rerank", "openai_choice"])
def test_the_question_is_shown_without_the_key(form, serve, pool):
    service = serve(form)
    shown = teacher_of(service).shown_request(pool[:3])
    assert KEY not in shown
    assert service.bodies == []
    if form == "openai_choice":
        assert QUESTION in shown


def test_a_refusal_of_a_comparison_costs_nothing(serve, pool, tmp_path):
    service = serve("openai_choice")
    service.script = [lambda handler, vectors: send(handler, 401, {"error": {"message": f"bad key {KEY}"}})]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        with pytest.raises(NotAsked, match="401") as caught:
            ask_preferences(as_preference_teacher(teacher_of(service)), pool, TRIPLES, ledger, budget=3)
        assert ledger.summary().spent == 0
    assert KEY not in str(caught.value)


def test_another_question_is_another_teacher(tmp_path):
    fields = json.loads(form_text("openai_choice"))
    (tmp_path / "mine.json").write_text(json.dumps(fields).replace("same kind of thing", "same place"))
    assert read_form(str(tmp_path / "mine.json")).digest != read_form("openai_choice").digest
