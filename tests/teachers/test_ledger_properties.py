"""Any order of asks, failures, losses, restarts and tables: the ledger's promises hold after each step."""

import collections
import tempfile
import threading
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kdistill.data import Image, ImageSet
from kdistill.errors import KdistillError
from kdistill.teachers import BadAnswer, Ledger, NoAnswer, NotAsked, ask
from kdistill.teachers.ledger.records import Question
from kdistill.teachers.ledger.transfer import export_table, import_table, verify

COUNT, DIMENSION = 14, 3


def truth(name: str) -> np.ndarray:
    return np.arange(DIMENSION, dtype=np.float32) * int(name) - 1


class FaultyTeacher:
    name, view = "faulty", "id"

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self.answered: set[str] = set()
        self.lock = threading.Lock()

    def embed(self, images):
        with self.lock:
            fault = self.faults.pop(0) if self.faults else "none"
            if fault == "refused":
                raise NotAsked("refused")
            self.counts.update(image.id for image in images)
            asked_again = self.answered.intersection(image.id for image in images)
            assert not asked_again, asked_again
            if fault == "none":
                self.answered.update(image.id for image in images)
        answers = np.stack([truth(image.id) for image in images])
        if fault == "lost":
            raise NoAnswer("lost")
        if fault == "partial":
            rows = np.arange(0, len(images), 2)[::-1]
            raise NoAnswer("partial", rows=rows, embeddings=answers[rows])
        if fault == "garbage":
            raise BadAnswer("garbage")
        if fault == "exception":
            raise RuntimeError("exception")
        if fault == "interrupt":
            raise KeyboardInterrupt
        if fault == "nan":
            answers[::2] = np.nan
        if fault == "dimension":
            return np.concatenate([answers, answers], axis=1)
        return answers


FAULTS = ["none", "refused", "lost", "partial", "garbage", "exception", "interrupt", "nan", "dimension"]


class LedgerMachine(RuleBasedStateMachine):
    def new_ledger(self) -> str:
        return f"{tempfile.mkdtemp(dir=self.folder.name)}/ledger.sqlite"

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = self.new_ledger()
        self.teacher = FaultyTeacher()
        # The last two images repeat the content of the first two under other names.
        pixels = [np.full((1, 1, 3), index % (COUNT - 2), np.uint8) for index in range(COUNT)]
        self.images = ImageSet([Image(str(index), array=array) for index, array in enumerate(pixels)])
        self.contents = [image.content_hash() for image in self.images]
        self.budget = 4
        self.answers: dict[str, np.ndarray] = {}
        self.ledger = Ledger(self.path)
        self.ledger.bind(self.teacher.name, self.teacher.view, DIMENSION)

    @rule(
        indices=st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=COUNT, unique=True),
        batch_size=st.integers(1, 5),
        faults=st.lists(st.sampled_from(FAULTS), max_size=3),
        retry_bad=st.booleans(),
        strict=st.booleans(),
        concurrency=st.sampled_from([1, 1, 2, 3]),
    )
    def ask(self, indices, batch_size, faults, retry_bad, strict, concurrency) -> None:
        self.teacher.faults = list(faults)
        before = self.ledger.summary().spent
        try:
            answers = ask(
                self.teacher,
                self.images,
                indices,
                self.ledger,
                budget=self.budget,
                batch_size=batch_size,
                retry_bad=retry_bad,
                strict=strict,
                concurrency=concurrency,
            )
        except (KdistillError, KeyboardInterrupt):
            return
        assert answers.spent == self.ledger.summary().spent - before
        for index, vector in zip(answers.indices, answers.embeddings, strict=True):
            np.testing.assert_array_equal(vector, truth(self.answered_name(self.contents[index])))

    def answered_name(self, content: str) -> str:
        (row,) = (row for row in self.ledger.rows() if row.content == content)
        return row.name

    @rule(extra=st.integers(1, 4))
    def raise_the_budget(self, extra) -> None:
        self.budget = min(COUNT, self.budget + extra)

    @rule(indices=st.lists(st.integers(0, COUNT - 3), min_size=1, max_size=4, unique=True), answered=st.integers(0, 2))
    def lose_another_asker(self, indices, answered) -> None:
        with Ledger(self.path) as other:
            asked = [Question(self.contents[index], str(index)) for index in indices]
            granted = other.reserve(asked, budget=self.budget, limit=4).granted
            self.teacher.counts.update(question.name for question in granted)
            if granted[:answered]:
                other.store(granted[:answered], np.stack([truth(question.name) for question in granted[:answered]]))

    @rule()
    def restart(self) -> None:
        self.ledger.close()
        self.ledger = Ledger(self.path, create=False)

    @precondition(lambda self: self.ledger.summary().answered > 0)
    @rule()
    def leave_and_return_by_table(self) -> None:
        table = Path(self.folder.name) / "table.npz"
        export_table(self.ledger, table)
        assert import_table(self.ledger, table) == 0
        with Ledger(self.new_ledger()) as copy:
            import_table(copy, table)
            assert verify(copy) == []
            assert set(copy.states(self.contents).values()) == {"answered"}

    @invariant()
    def promises(self) -> None:
        summary = self.ledger.summary()
        assert verify(self.ledger) == []
        assert summary.spent <= self.budget
        assert sum(self.teacher.counts.values()) <= summary.spent
        assert summary.in_flight == 0
        answers = self.ledger.answers(self.contents)
        assert len(answers) == summary.answered
        for content, vector in self.answers.items():
            np.testing.assert_array_equal(answers[content], vector)
        self.answers = answers

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            self.folder.cleanup()


def test_promises_hold(request):
    kind: type[LedgerMachine] = LedgerMachine
    if request.config.getoption("ledger_engine") == "postgres":
        new_schema = request.getfixturevalue("new_schema")

        class PostgresLedgerMachine(LedgerMachine):
            def new_ledger(self) -> str:
                return new_schema()

        kind = PostgresLedgerMachine
    checks = [HealthCheck.too_slow]
    run_state_machine_as_test(
        kind, settings=settings(max_examples=15, stateful_step_count=10, deadline=None, suppress_health_check=checks)
    )
