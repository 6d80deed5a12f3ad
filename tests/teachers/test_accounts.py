"""Accounts of the ledger: whose budget a question counts in, who sees the answer, and what a dry run says."""

import json

import numpy as np
import pytest

from kdistill.data import Image, ImageSet
from kdistill.errors import ArgumentError, KdistillError
from kdistill.teachers import JUDGING, LEARNING, SCORING, Ledger, ask, known_positions, plan, prefer_known
from kdistill.teachers.__main__ import main
from kdistill.teachers.ledger.records import UNKNOWN, Question
from kdistill.teachers.ledger.transfer import export_table, import_table, verify

QUESTIONS = [Question(f"hash{index}", f"name{index}") for index in range(6)]
VECTORS = np.arange(18, dtype=np.float32).reshape(6, 3)


@pytest.fixture
def path(new_ledger):
    return new_ledger()


@pytest.fixture
def ledger(path):
    with Ledger(path) as opened:
        opened.bind("teacher", "view")
        yield opened


class Teacher:
    """Answers an image with its first pixel; counts how often it was asked about each."""

    name, view = "teacher", "view"

    def __init__(self, *script: Exception | None) -> None:
        self.asked: list[str] = []
        self.script = list(script)

    def embed(self, images):
        self.asked += [image.id for image in images]
        step = self.script.pop(0) if self.script else None
        if step is not None:
            raise step
        return np.stack([image.pixels()[0, 0] for image in images]).astype(np.float32)


def images_of(*numbers: int) -> ImageSet:
    return ImageSet([Image(str(n), array=np.full((1, 1, 3), n, np.uint8)) for n in numbers])


def spent(ledger: Ledger) -> dict[str, int]:
    return {name: part.spent for name, part in ledger.summary().accounts.items()}


def test_each_account_has_a_budget_of_its_own(ledger):
    assert len(ledger.reserve(QUESTIONS[:3], budget=2, limit=6, price=1.0).granted) == 2
    scoring = ledger.reserve(QUESTIONS[3:], budget=1, limit=6, price=3.0, account=SCORING)
    assert (scoring.granted, scoring.left) == ((QUESTIONS[3],), tuple(QUESTIONS[4:]))
    summary = ledger.summary()
    assert (summary.spent, summary.cost, spent(ledger)) == (3, 5.0, {LEARNING: 2, SCORING: 1})
    assert summary.account(SCORING).cost == 3.0
    assert summary.account(JUDGING).spent == 0
    assert verify(ledger) == []


def test_an_answer_of_any_account_is_asked_for_once_and_costs_nothing_in_another(ledger):
    teacher = Teacher()
    ask(teacher, images_of(1, 2, 3), range(3), ledger, budget=3, price_per_query=1.0)
    scored = ask(teacher, images_of(2, 3, 4), range(3), ledger, budget=1, account=SCORING, price_per_query=1.0)
    assert (scored.spent, scored.embeddings[:, 0].tolist()) == (1, [2.0, 3.0, 4.0])
    taught = ask(teacher, images_of(4, 3, 1), range(3), ledger, budget=3)
    assert (taught.spent, len(taught.indices)) == (0, 3)
    assert (teacher.asked, spent(ledger)) == (["1", "2", "3", "4"], {LEARNING: 3, SCORING: 1})
    assert len(ledger.contents(LEARNING)) == 3
    assert ledger.contents(SCORING) == {images_of(4)[0].content_hash()}
    assert ledger.contents(JUDGING) == set()


def test_scoring_has_no_bound_when_none_is_given_and_goes_on_where_it_stopped(ledger):
    images = images_of(*range(7))
    teacher = Teacher(None, RuntimeError("cut off"))
    with pytest.raises(KdistillError, match="cut off"):
        ask(teacher, images, range(7), ledger, budget=None, batch_size=3, account=SCORING)
    again = ask(teacher, images, range(7), ledger, budget=None, batch_size=3, account=SCORING)
    assert (len(again.indices), again.spent) == (7, 4)
    assert sorted(teacher.asked) == sorted("0123453456")
    assert ask(teacher, images, range(7), ledger, budget=None, account=SCORING).spent == 0


def test_what_another_account_lost_counts_where_it_is_asked_again(ledger):
    ledger.reserve(QUESTIONS[:2], budget=2, limit=2, price=2.0)
    ledger.mark(QUESTIONS[:2], UNKNOWN)
    assert ledger.reserve(QUESTIONS[:2], budget=2, limit=2).granted == ()
    again = ledger.reserve(QUESTIONS[:2], budget=1, limit=2, price=5.0, account=SCORING)
    assert again.granted == (QUESTIONS[0],)
    assert spent(ledger) == {LEARNING: 2, SCORING: 1}
    # It stays a question of the account that paid first: what was chosen for learning is no secret to it.
    assert ledger.contents(LEARNING) == {"hash0", "hash1"}
    assert ledger.contents(SCORING) == set()
    ledger.release(again.granted)
    assert (spent(ledger), ledger.summary().cost) == ({LEARNING: 2, SCORING: 0}, 4.0)
    assert verify(ledger) == []


def test_what_a_lost_asker_of_a_free_teacher_held_is_given_back_to_who_paid(path, ledger):
    with Ledger(path) as first:
        first.reserve(QUESTIONS[:2], budget=9, limit=9, price=1.0, account=JUDGING)
    with Ledger(path) as second:
        second.reserve(QUESTIONS[2:5], budget=9, limit=9, price=0.1, account=SCORING)
    assert spent(ledger) == {JUDGING: 2, SCORING: 3}
    granted = ledger.reserve(QUESTIONS, budget=9, limit=1, repeatable=True).granted
    assert granted == (QUESTIONS[0],)
    assert spent(ledger) == {JUDGING: 0, LEARNING: 1, SCORING: 0}
    assert ledger.summary().cost == pytest.approx(0.0)
    assert ledger.contents(JUDGING) == set()


def test_several_accounts_are_priced_together(ledger):
    pool, test = images_of(*range(6)), images_of(*range(4, 10))
    ask(Teacher(), pool, [0], ledger, budget=6)
    learning = plan(Teacher(), pool, [0, 4, 5], ledger, budget=2, price_per_query=0.5)
    scoring = plan(
        Teacher(), test, range(6), ledger, budget=None, price_per_query=0.5, account=SCORING, after=[learning]
    )
    assert (learning.answered, learning.to_ask, learning.over_budget) == (1, 1, 1)
    assert (scoring.answered, scoring.to_ask, scoring.over_budget, scoring.cost) == (1, 5, 0, 2.5)
    assert str(scoring) == "scoring: 6 questions: 1 already paid for, 5 to ask at a cost of 2.50 (0 spent so far)"
    ask(Teacher(), pool, [0, 4, 5], ledger, budget=2)
    asked = ask(Teacher(), test, range(6), ledger, budget=None, account=SCORING)
    assert asked.spent == scoring.to_ask


def test_only_learning_is_bound_by_the_size_of_its_pool(ledger):
    with pytest.raises(ArgumentError, match="only 2 images"):
        ask(Teacher(), images_of(1, 2), [0], ledger, budget=3)
    assert ask(Teacher(), images_of(1, 2), [0], ledger, budget=3, account=SCORING).spent == 1
    with pytest.raises(ArgumentError, match="at least 1"):
        ask(Teacher(), images_of(1, 2), [0], ledger, budget=0, account=SCORING)


def test_the_status_shows_each_account(path, ledger, capsys):
    ledger.reserve(QUESTIONS[:3], budget=9, limit=9, price=1.5)
    ledger.store(QUESTIONS[:3], VECTORS[:3])
    ledger.store(ledger.reserve(QUESTIONS[:4], budget=9, limit=9, account=SCORING).granted, VECTORS[3:4])
    assert main(["status", path]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "spent        4 questions, cost 4.50" in lines
    assert "learning   3 questions, cost 4.50: 3 answered, 0 in flight, 0 unknown, 0 bad" in lines
    assert "scoring    1 question, cost 0.00: 1 answered, 0 in flight, 0 unknown, 0 bad" in lines
    assert main(["status", "--json", path]) == 0
    assert json.loads(capsys.readouterr().out)["accounts"]["scoring"]["spent"] == 1


def test_a_table_keeps_accounts_apart(ledger, new_ledger, tmp_path):
    ledger.reserve(QUESTIONS[:2], budget=9, limit=9)
    ledger.store(QUESTIONS[:2], VECTORS[:2])
    ledger.store(ledger.reserve(QUESTIONS[2:3], budget=9, limit=9, account=JUDGING).granted, VECTORS[2:3])
    export_table(ledger, tmp_path / "table.npz")
    with Ledger(new_ledger()) as other:
        import_table(other, tmp_path / "table.npz")
        assert (other.contents(JUDGING), other.contents(LEARNING)) == ({"hash2"}, {"hash0", "hash1"})
        assert (other.summary().spent, other.summary().account(JUDGING).imported) == (0, 1)
        assert verify(other) == []


def test_known_answers_are_found_by_content_but_not_those_that_are_judged_by(ledger):
    ask(Teacher(), images_of(1, 2), range(2), ledger, budget=2)
    ask(Teacher(), images_of(3), [0], ledger, budget=1, account=SCORING)
    ask(Teacher(), images_of(4), [0], ledger, budget=1, account=JUDGING)
    pool = images_of(9, 4, 3, 2, 8)
    assert known_positions(pool, ledger).tolist() == [2, 3]
    assert known_positions(pool, ledger, without=(JUDGING, SCORING)).tolist() == [3]
    assert known_positions(images_of(7), ledger).tolist() == []


@pytest.mark.parametrize(
    ("chosen", "known", "budget", "expected"),
    [
        ([5, 3, 1], [], 3, [5, 3, 1]),
        ([5, 3, 1], [], 2, [5, 3, 1]),
        ([5, 3, 1], [1], 3, [1, 5, 3]),
        ([5, 3, 1], [7, 9], 3, [7, 9, 5]),
        ([5, 3, 1], [7, 1, 5], 3, [5, 1, 7]),
        ([5, 3, 1], [7, 8, 9, 2], 3, [7, 8, 9]),
        ([5, 3, 1], [7, 3, 9], 2, [3, 7, 5]),
        ([5], [7, 8], 2, [7, 8]),
        ([], [7], 1, [7]),
    ],
)
def test_known_answers_come_first(chosen, known, budget, expected):
    found = prefer_known(np.array(chosen, np.int64), np.array(known, np.int64), budget)
    assert (found.tolist(), found.dtype) == (expected, np.int64)


def test_known_answers_of_a_budget_below_one():
    with pytest.raises(ArgumentError, match="at least 1"):
        prefer_known([1], [1], 0)
