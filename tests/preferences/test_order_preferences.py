"""Teachers that only rank: one order is one question of the ledger, and a wrong one is never used."""

import numpy as np
import pytest

from kdistill.data import Image, ImageSet
from kdistill.errors import ArgumentError, KdistillError
from kdistill.preferences.orders import (
    Orders,
    OrdersByEmbedding,
    as_order_teacher,
    ask_orders,
    comparing_orders,
    order_questions,
)
from kdistill.preferences.proposals import propose
from kdistill.teachers import BadAnswer, Ledger, NoAnswer, NotAsked, plan
from kdistill.teachers.providers.function import FunctionTeacher

QUERIES = np.array([0, 3])
CANDIDATES = np.array([[1, 2, 4], [5, 0, 2]])


class Brightness:
    """Puts the image whose brightness is nearest to the query's first; `script` holds answers to give instead."""

    name, view = "brightness", "image"

    def __init__(self, *script) -> None:
        self.script, self.asked = list(script), []

    def rank(self, query, candidates):
        self.asked.append([query.id, *(image.id for image in candidates)])
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        gaps = [abs(image.pixels().mean() - query.pixels().mean()) for image in candidates]
        return np.argsort(gaps, kind="stable") if step is None else step


class Batched(Brightness):
    def rank_batch(self, questions):
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        return np.stack([self.rank(*question) for question in questions])


@pytest.fixture
def pool() -> ImageSet:
    """Grey images of brightness 0, 10, 200, 60, 40, 50."""
    levels = (0, 10, 200, 60, 40, 50)
    return ImageSet([Image(f"i{n}", array=np.full((4, 4, 3), level, np.uint8)) for n, level in enumerate(levels)])


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


def ask_all(teacher, pool, ledger, budget=2, **options) -> Orders:
    return ask_orders(teacher, pool, QUERIES, CANDIDATES, ledger, budget=budget, **options)


@pytest.mark.parametrize("kind", [Brightness, Batched])
def test_orders_come_best_first_and_are_paid_once(kind, pool, ledger):
    teacher = kind()
    orders = ask_all(teacher, pool, ledger, price_per_query=0.5)
    # From 0: gaps 10, 200, 40. From 60: gaps 10, 60, 140.
    assert orders.queries.tolist() == [0, 3]
    assert orders.candidates.tolist() == [[1, 4, 2], [5, 0, 2]]
    assert (orders.spent, ledger.summary().cost) == (2, 1.0)
    again = ask_all(teacher, pool, ledger)
    assert again.spent == 0
    assert again.candidates.tolist() == orders.candidates.tolist()
    assert len(teacher.asked) == 2
    assert (ledger.summary().view, ledger.summary().dimension) == ("order/3/image", 3)


def test_other_candidates_or_another_sequence_are_another_question(pool, ledger):
    teacher = Brightness()
    ask_orders(teacher, pool, [0], np.array([[1, 2, 4]]), ledger, budget=1)
    more = ask_orders(teacher, pool, [0, 0], np.array([[2, 1, 4], [1, 2, 5]]), ledger, budget=2)
    assert more.spent == 1
    assert more.unasked == 1
    assert more.candidates.tolist() == [[1, 4, 2]]


def test_a_question_is_known_by_its_contents_not_by_names(pool, ledger):
    renamed = ImageSet([Image(f"other{n}", array=image.array) for n, image in enumerate(pool)])
    teacher = Brightness()
    first = ask_all(teacher, pool, ledger)
    second = ask_all(teacher, renamed, ledger)
    assert (second.spent, len(teacher.asked)) == (0, 2)
    assert second.candidates.tolist() == first.candidates.tolist()


@pytest.mark.parametrize(
    "wrong",
    [[0, 1], [0, 1, 2, 3], [0, 0, 1], [1, 2, 3], [0.5, 1, 2], [0, 1, np.nan], ["a", "b", "c"], None, [[0, 1, 2]]],
)
def test_what_is_no_permutation_is_a_bad_answer_of_that_question(wrong, pool, ledger):
    teacher = Brightness(wrong if wrong is not None else "nothing")
    orders = ask_all(teacher, pool, ledger)
    assert orders.queries.tolist() == [3]
    assert [name for name, _ in orders.skipped] == [order_questions(pool, QUERIES, CANDIDATES).ids[0]]
    assert (ledger.summary().bad, ledger.summary().answered, ledger.summary().spent) == (1, 1, 2)
    assert ask_all(teacher, pool, ledger).spent == 0


def test_a_refusal_costs_nothing_and_keeps_what_was_answered_before(pool, ledger):
    teacher = Brightness(None, NotAsked("come back tomorrow"))
    with pytest.raises(NotAsked):
        ask_all(teacher, pool, ledger)
    assert (ledger.summary().answered, ledger.summary().spent) == (1, 1)
    assert ask_all(teacher, pool, ledger).spent == 1


def test_a_part_of_a_batch_is_kept_where_it_is_a_permutation(pool, ledger):
    part = NoAnswer("half", rows=[1], embeddings=np.array([[2.0, 1.0, 0.0]]))
    assert ask_all(Batched(part), pool, ledger).candidates.tolist() == [[2, 0, 5]]
    assert (ledger.summary().answered, ledger.summary().unknown, ledger.summary().spent) == (1, 1, 2)


def test_a_part_of_a_batch_that_is_no_permutation_is_bad(pool, ledger):
    part = NoAnswer("half", rows=[1], embeddings=np.array([[2.0, 1.0, 1.0]]))
    with pytest.raises(KdistillError, match="answered none of"):
        ask_all(Batched(part), pool, ledger)
    assert (ledger.summary().bad, ledger.summary().unknown, ledger.summary().spent) == (1, 1, 2)


def test_orders_of_another_length_are_another_ledger(pool, ledger):
    ask_all(Brightness(), pool, ledger)
    with pytest.raises(KdistillError, match="order/3/image"):
        ask_orders(Brightness(), pool, [0], np.array([[1, 2]]), ledger, budget=1)


def test_a_dry_run_counts_questions(pool, ledger):
    ask_orders(Brightness(), pool, QUERIES[:1], CANDIDATES[:1], ledger, budget=1)
    questions = order_questions(pool, QUERIES, CANDIDATES)
    found = plan(comparing_orders(Brightness(), 3), questions, range(2), ledger, budget=2, price_per_query=2.0)
    assert (found.questions, found.answered, found.to_ask, found.cost) == (2, 1, 1, 2.0)


def test_an_unreadable_candidate_skips_its_question_alone(pool, ledger, tmp_path):
    broken = ImageSet([*pool[:4], Image("broken", path=tmp_path / "missing.jpg"), pool[5]])
    orders = ask_all(Brightness(), broken, ledger)
    assert orders.queries.tolist() == [3]
    assert "missing.jpg" in orders.skipped[0][1]
    assert orders.spent == 1


class Table:
    name, view = "table", "id"

    def __init__(self) -> None:
        angles = np.deg2rad([0, 40, 10, 90, 40, 170])
        self.vectors = 3.0 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        self.calls: list[list[str]] = []

    def embed(self, images):
        self.calls.append([image.id for image in images])
        return self.vectors[[int(image.id[1:]) for image in images]]


def test_an_embedding_teacher_ranks_by_angle_and_embeds_each_image_once(pool, ledger):
    table = Table()
    orders = ask_orders(
        OrdersByEmbedding(table), pool, [0, 3], np.array([[3, 1, 4, 2], [0, 5, 4, 1]]), ledger, budget=2
    )
    # Angles from 0°: 90, 40, 40, 10; from 90°: 90, 80, 50, 50. Ties stay as they were shown.
    assert orders.candidates.tolist() == [[2, 1, 4, 3], [4, 1, 5, 0]]
    assert sorted(name for call in table.calls for name in call) == [f"i{n}" for n in range(6)]


def test_every_kind_of_teacher_can_be_asked_for_orders(pool):
    teacher = Brightness()
    assert as_order_teacher(teacher) is teacher
    function = FunctionTeacher(teacher.rank, name="mine:rank")
    assert as_order_teacher(function).name == "mine:rank"
    assert as_order_teacher(function).rank(pool[0], pool[1:3]).tolist() == [0, 1]
    assert isinstance(as_order_teacher(Table()), OrdersByEmbedding)


def test_a_batch_of_another_shape_ends_the_run(pool, ledger):
    class Short(Batched):
        def rank_batch(self, questions):
            return np.zeros((len(questions), 2))

    with pytest.raises(BadAnswer, match="2 numbers"):
        ask_all(Short(), pool, ledger)
    assert ledger.summary().bad == 2


def test_proposals_are_the_nearest_others_nearest_first():
    angles = np.deg2rad([0, 10, 30, 90, 170, 350])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert propose(features, np.array([0, 3]), 3).tolist() == [[1, 5, 2], [2, 1, 4]]
    for count in (1, 6):
        with pytest.raises(ArgumentError, match="2 to 5"):
            propose(features, np.array([0]), count)


def test_proposals_agree_with_a_full_sort():
    random = np.random.default_rng(3)
    features = random.standard_normal((700, 8)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    queries = random.permutation(700)[:300]
    found = propose(features, queries, 20)
    for query, row in zip(queries[::37], found[::37], strict=True):
        cosines = features @ features[query]
        cosines[query] = -2
        np.testing.assert_allclose(cosines[row], np.sort(cosines)[::-1][:20], rtol=1e-5)
        assert query not in row
