"""A question whose answer was lost counts where it may have been charged, and nowhere else."""

import numpy as np
import pytest

from kdistill.data import Image, ImageSet
from kdistill.errors import KdistillError
from kdistill.teachers import Ledger, ask, open_teacher
from kdistill.teachers.ledger.records import UNKNOWN, Question
from kdistill.teachers.ledger.transfer import verify
from kdistill.teachers.services.comparisons import HttpTeacher

QUESTIONS = [Question(f"hash{index}", f"name{index}") for index in range(6)]
VECTORS = np.arange(18, dtype=np.float32).reshape(6, 3)


@pytest.fixture
def path(new_ledger):
    return new_ledger()


def test_what_a_lost_asker_of_a_free_teacher_held_is_given_back(path):
    with Ledger(path) as ledger:
        ledger.bind("teacher", "view")
        ledger.reserve(QUESTIONS[:1], budget=6, limit=1, price=2.0)
        ledger.mark(QUESTIONS[:1], UNKNOWN)
        with Ledger(path) as other:
            # Counted again, so that it stays counted once; the other three were never asked before.
            other.reserve(QUESTIONS[:4], budget=6, limit=4, price=3.0)
        assert ledger.summary().spent == 5
        again = ledger.reserve(QUESTIONS, budget=6, limit=6, price=2.0, repeatable=True)
        assert again.granted == tuple(QUESTIONS[:5])
        assert (ledger.summary().spent, verify(ledger)) == (6, [])
        ledger.store(QUESTIONS[:5], VECTORS[:5])
        assert {row.name: row.asked for row in ledger.rows()} == {"name0": 2} | {f"name{n}": 1 for n in range(1, 5)}


def test_giving_back_reaches_questions_that_are_not_asked_for_now(path):
    with Ledger(path) as ledger:
        ledger.bind("teacher", "view")
        with Ledger(path) as other:
            other.reserve(QUESTIONS[:3], budget=6, limit=3, price=1.5)
        nothing = ledger.reserve(QUESTIONS[2:3], budget=6, limit=0, repeatable=True)
        assert nothing.left == (QUESTIONS[2],)
        assert (ledger.summary().spent, ledger.summary().cost, list(ledger.rows())) == (0, 0.0, [])


def test_a_living_asker_keeps_its_questions(path):
    with Ledger(path) as ledger, Ledger(path) as other:
        ledger.bind("teacher", "view")
        other.reserve(QUESTIONS[:3], budget=6, limit=3)
        assert ledger.reserve(QUESTIONS, budget=6, limit=6, repeatable=True).busy == tuple(QUESTIONS[:3])
        assert ledger.summary().spent == 6


class Interrupted:
    name, view = "interrupted", "id"

    def __init__(self, repeatable: bool) -> None:
        self.repeatable = repeatable
        self.answers = [0]

    def embed(self, images):
        if self.answers.pop() == 0:
            raise KeyboardInterrupt
        return np.ones((len(images), 2))


@pytest.mark.parametrize(("repeatable", "spent"), [(True, 3), (False, 5)])
def test_an_interrupt_gives_back_only_what_is_free(path, repeatable, spent):
    images = ImageSet([Image(str(n), array=np.full((1, 1, 3), n, np.uint8)) for n in range(5)])
    teacher = Interrupted(repeatable)
    with Ledger(path) as ledger:
        with pytest.raises(KeyboardInterrupt):
            ask(teacher, images, range(3), ledger, budget=5, batch_size=2)
        teacher.answers = [1, 1]
        assert len(ask(teacher, images, range(3), ledger, budget=5, batch_size=2).indices) == 3
        assert (ledger.summary().spent, verify(ledger)) == (spent, [])


def test_a_refusal_of_a_free_teacher_is_given_back_once(path, tmp_path):
    np.savez(tmp_path / "table.npz", ids=np.array(["0"]), embeddings=np.ones((1, 2), np.float32))
    images = ImageSet([Image(str(n), array=np.full((1, 1, 3), n, np.uint8)) for n in range(2)])
    with Ledger(path) as ledger:
        with pytest.raises(KdistillError, match="has no row"):
            ask(open_teacher(tmp_path / "table.npz"), images, [0, 1], ledger, budget=2, batch_size=1)
        assert (ledger.summary().spent, verify(ledger)) == (1, [])


def test_who_is_free(tmp_path):
    def paid(images):
        return np.ones((len(images), 2))

    def free(images):
        return np.ones((len(images), 2))

    free.repeatable = True
    np.savez(tmp_path / "table.npz", ids=np.array(["a"]), embeddings=np.ones((1, 2), np.float32))
    assert open_teacher(tmp_path / "table.npz").repeatable
    assert open_teacher(free).repeatable
    assert not open_teacher(paid).repeatable
    assert not getattr(HttpTeacher("https://example.org/embed"), "repeatable", False)
