"""`ask` and `plan` against a teacher that counts and fails on demand."""

from collections.abc import Sequence

import numpy as np
import pytest

from kdistill.data import Image, ImageSet, UnreadableImage
from kdistill.errors import ArgumentError, KdistillError
from kdistill.teachers import BadAnswer, Ledger, NoAnswer, NotAsked, ask, plan


class ScriptedTeacher:
    """Answers an image with its mean colour and its negative; `script` holds what to do instead, a call each."""

    name, view = "scripted", "mean-colour"

    def __init__(self, *script) -> None:
        self.script = list(script)
        self.asked: list[str] = []

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        answers = np.stack([answer(image) for image in images])  # raises for what cannot be decoded
        step = self.script.pop(0) if self.script else None
        if isinstance(step, NotAsked):
            raise step
        self.asked += [image.id for image in images]
        if isinstance(step, BaseException):
            raise step
        return answers if step is None else step(answers)


def answer(image: Image) -> np.ndarray:
    mean = image.pixels().mean(axis=(0, 1)).astype(np.float32)
    return np.concatenate([mean, -mean])


def make_images(count: int) -> list[Image]:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return [Image(f"image{index}", array=array) for index, array in enumerate(pixels)]


@pytest.fixture
def images() -> ImageSet:
    return ImageSet(make_images(12))


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


def nan_in_row(row: int):
    def change(answers: np.ndarray) -> np.ndarray:
        answers[row, 0] = np.nan
        return answers

    return change


def test_answers_come_in_the_order_asked_and_are_asked_once(images, ledger):
    teacher = ScriptedTeacher()
    order = [7, 2, 9, 0, 5]
    answers = ask(teacher, images, order, ledger, budget=12, batch_size=2, price_per_query=0.5)
    assert answers.indices.tolist() == order
    np.testing.assert_array_equal(answers.embeddings, np.stack([answer(images[index]) for index in order]))
    assert answers.embeddings.dtype == np.float32
    assert answers.spent == 5
    assert ledger.summary().cost == pytest.approx(2.5)
    again = ask(teacher, images, [*order, 1], ledger, budget=12)
    assert again.spent == 1
    assert teacher.asked == [f"image{index}" for index in [*order, 1]]


def test_equal_images_under_two_names_are_one_question(ledger):
    pixels = make_images(2)
    twins = ImageSet([*pixels, Image("copy", array=pixels[0].array)])
    teacher = ScriptedTeacher()
    answers = ask(teacher, twins, [0, 1, 2], ledger, budget=3)
    assert answers.spent == 2
    np.testing.assert_array_equal(answers.embeddings[0], answers.embeddings[2])
    assert teacher.asked == ["image0", "image1"]


def test_the_budget_stops_the_asking_and_says_what_is_left(images, ledger):
    answers = ask(ScriptedTeacher(), images, range(12), ledger, budget=5, batch_size=3)
    assert answers.spent == 5
    assert answers.indices.tolist() == [0, 1, 2, 3, 4]
    assert answers.unasked.tolist() == list(range(5, 12))
    more = ask(ScriptedTeacher(), images, range(12), ledger, budget=8, batch_size=3)
    assert (more.spent, len(more.indices)) == (3, 8)


@pytest.mark.parametrize(("budget", "message"), [(0, "at least 1"), (13, "only 12 images"), (-1, "at least 1")])
def test_impossible_budgets_are_argument_errors(images, ledger, budget, message):
    with pytest.raises(ArgumentError, match=message):
        ask(ScriptedTeacher(), images, [0], ledger, budget=budget)
    with pytest.raises(ArgumentError, match=message):
        plan(ScriptedTeacher(), images, [0], None, budget=budget)


@pytest.mark.parametrize(("indices", "message"), [([], "no image"), ([0, 0], "twice"), ([12], "0 to 11")])
def test_impossible_indices_are_argument_errors(images, ledger, indices, message):
    with pytest.raises(ArgumentError, match=message):
        ask(ScriptedTeacher(), images, indices, ledger, budget=3)


def test_a_refused_batch_costs_nothing(images, ledger):
    teacher = ScriptedTeacher(None, NotAsked("come back tomorrow"))
    with pytest.raises(NotAsked, match="tomorrow"):
        ask(teacher, images, range(6), ledger, budget=6, batch_size=3, price_per_query=1.0)
    summary = ledger.summary()
    assert (summary.spent, summary.answered, summary.cost) == (3, 3, 3.0)
    assert len(ask(teacher, images, range(6), ledger, budget=6).indices) == 6


def test_a_lost_answer_is_counted_and_asked_again(images, ledger):
    teacher = ScriptedTeacher(NoAnswer("timed out"))
    answers = ask(teacher, images, range(4), ledger, budget=12, batch_size=2)
    assert len(answers.indices) == 4
    assert answers.spent == ledger.summary().spent == len(teacher.asked) == 6


def test_partial_answers_are_kept(images, ledger):
    half = NoAnswer("half", rows=[3, 1], embeddings=np.stack([answer(images[3]), answer(images[1])]))
    teacher = ScriptedTeacher(half)
    answers = ask(teacher, images, range(4), ledger, budget=12, batch_size=4)
    np.testing.assert_array_equal(answers.embeddings, np.stack([answer(images[index]) for index in range(4)]))
    assert teacher.asked == ["image0", "image1", "image2", "image3", "image0", "image2"]
    assert ledger.summary().spent == 6


def test_three_lost_batches_in_a_row_end_the_run(images, ledger):
    teacher = ScriptedTeacher(*[NoAnswer("timed out")] * 9)
    with pytest.raises(KdistillError, match="no usable answer to 3 batches"):
        ask(teacher, images, range(12), ledger, budget=12, batch_size=2)
    assert ledger.summary().spent == len(teacher.asked) == 6
    assert ledger.summary().unknown == 6


def test_a_row_that_is_not_finite_is_skipped_and_never_asked_again(images, ledger):
    teacher = ScriptedTeacher(nan_in_row(1))
    answers = ask(teacher, images, range(3), ledger, budget=12)
    assert answers.indices.tolist() == [0, 2]
    assert answers.skipped == (("image1", "the teacher's answer is not finite"),)
    again = ask(teacher, images, range(3), ledger, budget=12)
    assert (again.spent, again.indices.tolist()) == (0, [0, 2])
    assert [name for name, _ in again.skipped] == ["image1"]
    retried = ask(teacher, images, range(3), ledger, budget=12, retry_bad=True)
    assert (retried.spent, retried.indices.tolist()) == (1, [0, 1, 2])
    assert ledger.summary().spent == 4


def test_strict_stops_at_a_bad_row_but_keeps_the_others(images, ledger):
    with pytest.raises(KdistillError, match="'image1': the teacher's answer is not finite"):
        ask(ScriptedTeacher(nan_in_row(1)), images, range(3), ledger, budget=12, strict=True)
    assert ledger.summary().answered == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda answers: answers[:, :2], "2 numbers a question, but the ledger .* holds answers of 6"),
        (lambda answers: answers[:-1], r"3 questions with an array of shape \[2, 6\]"),
        (lambda answers: answers[0], r"array of shape \[6\]"),
        (lambda answers: answers.astype(str), "instead of numbers"),
        (lambda answers: answers[:, :0], r"shape \[3, 0\]"),
    ],
)
def test_answers_of_another_shape_end_the_run_and_are_not_kept(images, ledger, change, message):
    ask(ScriptedTeacher(), images, [0], ledger, budget=12)
    with pytest.raises(BadAnswer, match=message):
        ask(ScriptedTeacher(change), images, [1, 2, 3], ledger, budget=12)
    summary = ledger.summary()
    assert (summary.answered, summary.bad, summary.spent) == (1, 3, 4)


def test_a_teacher_that_raises_ends_the_run_in_one_sentence(images, ledger):
    with pytest.raises(KdistillError, match="'scripted' failed: ZeroDivisionError: oh") as caught:
        ask(ScriptedTeacher(None, ZeroDivisionError("oh")), images, range(4), ledger, budget=12, batch_size=2)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    summary = ledger.summary()
    assert (summary.answered, summary.unknown, summary.spent) == (2, 2, 4)


def test_ctrl_c_leaves_nothing_in_flight(images, ledger):
    with pytest.raises(KeyboardInterrupt):
        ask(ScriptedTeacher(KeyboardInterrupt()), images, range(4), ledger, budget=12)
    assert (ledger.summary().in_flight, ledger.summary().unknown) == (0, 4)


def test_unreadable_images_are_skipped_before_anything_is_paid(tmp_path, ledger):
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    images = ImageSet(
        [
            *make_images(3),
            Image("broken", path=tmp_path / "broken.jpg"),
            Image("missing", path=tmp_path / "missing.jpg"),
        ]
    )
    teacher = ScriptedTeacher()
    answers = ask(teacher, images, range(5), ledger, budget=5)
    assert answers.indices.tolist() == [0, 1, 2]
    assert [name for name, _ in answers.skipped] == ["missing", "broken"]
    assert answers.spent == ledger.summary().spent == len(teacher.asked) == 3
    with pytest.raises(UnreadableImage, match="missing"):
        ask(teacher, images, range(5), ledger, budget=5, strict=True)
    with pytest.raises(KdistillError, match="none of the 1 images to ask about can be read"):
        ask(teacher, images, [4], ledger, budget=5)


def test_another_teacher_or_view_is_refused(images, ledger):
    ask(ScriptedTeacher(), images, [0], ledger, budget=12)
    for what, value in {"name": "other", "view": "encoded", "dimension": 7}.items():
        teacher = ScriptedTeacher()
        setattr(teacher, what, value)
        with pytest.raises(KdistillError, match=f"not of {value!r}"):
            ask(teacher, images, [1], ledger, budget=12)
        assert teacher.asked == []
    assert ledger.summary().spent == 1


def test_the_plan_tells_what_asking_would_cost_and_asks_nothing(images, tmp_path):
    teacher = ScriptedTeacher()
    fresh = plan(teacher, images, range(8), None, budget=6, price_per_query=0.25)
    assert (fresh.questions, fresh.answered, fresh.to_ask, fresh.over_budget, fresh.cost) == (8, 0, 6, 2, 1.5)
    assert not list(tmp_path.iterdir())
    assert teacher.asked == []
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ask(teacher, images, range(3), ledger, budget=12)
        later = plan(teacher, images, range(8), ledger, budget=6, price_per_query=0.25)
        assert (later.answered, later.to_ask, later.over_budget, later.spent) == (3, 3, 2, 3)
        assert str(later) == (
            "8 questions: 3 already paid for, 3 to ask at a cost of 0.75, 2 beyond the budget (3 spent so far)"
        )
        assert ledger.summary().spent == 3
