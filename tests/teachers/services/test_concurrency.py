"""Several requests under way at once: the ledger's promises hold, and what is on its way is kept whatever happens."""

import _thread
import threading
import time

import numpy as np
import pytest
from mock_services import KEY, MockService, send

from kdistill.data import Image, ImageSet
from kdistill.errors import ArgumentError, KdistillError
from kdistill.teachers import BadAnswer, Ledger, NoAnswer, NotAsked, ask
from kdistill.teachers.services.opening import open_service
from kdistill.teachers.services.transport.pace import Pace
from kdistill.teachers.services.transport.waits import used_up


class SlowTeacher:
    """Answers after a while; `faults` are raised instead, by the number of the call."""

    name, view = "slow", "mean"

    def __init__(self, seconds: float = 0.02, **faults: BaseException) -> None:
        self.seconds, self.faults = seconds, {int(name[1:]): error for name, error in faults.items()}
        self.calls: list[list[str]] = []
        self.flying = self.most = 0
        self.lock = threading.Lock()

    def embed(self, images):
        with self.lock:
            call = len(self.calls)
            self.calls.append([image.id for image in images])
            self.flying += 1
            self.most = max(self.most, self.flying)
        fault = self.faults.get(call)
        if isinstance(fault, KeyboardInterrupt):
            _thread.interrupt_main()
        elif fault is None:
            time.sleep(self.seconds)
        with self.lock:
            self.flying -= 1
        if isinstance(fault, KdistillError):
            raise fault
        return np.stack([image.pixels().mean(axis=(0, 1)) for image in images])


@pytest.fixture
def images() -> ImageSet:
    pixels = np.random.default_rng(3).integers(0, 256, (40, 3, 3, 3), dtype=np.uint8)
    return ImageSet([Image(f"image{index}", array=array) for index, array in enumerate(pixels)])


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


def truth(images) -> np.ndarray:
    return np.stack([image.pixels().mean(axis=(0, 1)) for image in images])


class Gathering(SlowTeacher):
    """Answers only when four requests are under way; the first goes alone."""

    def __init__(self) -> None:
        super().__init__(0)
        self.gathered = threading.Event()

    def embed(self, images):
        with self.lock:
            first = not self.calls
            if self.flying == 3:
                self.gathered.set()
            self.flying += 1
        assert first or self.gathered.wait(10)
        with self.lock:
            self.flying -= 1
        return super().embed(images)


def test_so_many_are_under_way_and_each_photo_is_asked_once(images, ledger):
    teacher = Gathering()
    answers = ask(teacher, images, range(40), ledger, budget=40, batch_size=2, concurrency=4)
    assert teacher.most <= 4
    asked = [name for call in teacher.calls for name in call]
    assert sorted(asked) == sorted(images.ids)
    np.testing.assert_allclose(answers.embeddings, truth(images), rtol=1e-6)
    assert answers.indices.tolist() == list(range(40))
    assert ledger.summary().spent == answers.spent == 40


def test_one_at_a_time_stays_in_the_thread_that_asks(images, ledger):
    class Here(SlowTeacher):
        def embed(self, images):
            assert threading.current_thread() is threading.main_thread()
            return super().embed(images)

    ask(Here(0), images, range(4), ledger, budget=40, batch_size=2)


@pytest.mark.parametrize("error", [BadAnswer("garbage"), NotAsked("no key")])
def test_what_is_wrong_with_every_request_costs_one(error, images, ledger):
    teacher = SlowTeacher(_0=error)
    with pytest.raises(type(error)):
        ask(teacher, images, range(40), ledger, budget=40, batch_size=2, concurrency=8)
    assert len(teacher.calls) == 1
    assert ledger.summary().spent == (2 if isinstance(error, BadAnswer) else 0)


def test_after_a_lost_answer_they_go_one_at_a_time_until_one_comes(images, ledger):
    lost = {f"_{call}": NoAnswer("lost") for call in range(1, 40)}
    teacher = SlowTeacher(**lost)
    with pytest.raises(KdistillError, match="3 batches in a row"):
        ask(teacher, images, range(40), ledger, budget=80 // 2, batch_size=1, concurrency=4)
    assert len(teacher.calls) <= 1 + 4 + 2


@pytest.mark.parametrize("error", [NotAsked("refused"), BadAnswer("garbage")])
def test_a_fault_of_one_loses_none_of_the_others(error, images, ledger):
    teacher = SlowTeacher(0.1, _2=error)
    with pytest.raises(type(error)):
        ask(teacher, images, range(40), ledger, budget=40, batch_size=2, concurrency=4)
    summary = ledger.summary()
    bad = 2 if isinstance(error, BadAnswer) else 0
    assert summary.answered == 2 * (len(teacher.calls) - 1)
    assert (summary.in_flight, summary.unknown, summary.bad) == (0, 0, bad)
    assert summary.spent == summary.answered + bad
    answers = ask(SlowTeacher(0), images, range(40), ledger, budget=40, concurrency=4)
    assert len(answers.indices) == 40 - bad


def test_an_interruption_waits_for_what_is_on_its_way(images, ledger):
    teacher = SlowTeacher(0.2, _3=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        ask(teacher, images, range(40), ledger, budget=40, batch_size=2, concurrency=4)
    summary = ledger.summary()
    assert (summary.in_flight, summary.unknown) == (0, 0)
    assert summary.answered == summary.spent == 2 * len(teacher.calls)


def test_an_interruption_does_not_wait_for_ever(images, ledger, monkeypatch):
    monkeypatch.setattr("kdistill.teachers.run.GRACE_SECONDS", 0.1)
    teacher = SlowTeacher(0.0, _3=KeyboardInterrupt())
    release = threading.Event()
    embed = teacher.embed
    teacher.embed = lambda images: embed(images) if len(teacher.calls) < 2 else (embed(images), release.wait(5))[0]
    with pytest.raises(KeyboardInterrupt):
        ask(teacher, images, range(40), ledger, budget=40, batch_size=2, concurrency=4)
    release.set()
    summary = ledger.summary()
    assert summary.in_flight == 0
    assert summary.unknown > 0
    assert summary.spent == 2 * len(teacher.calls)


def test_an_answer_is_on_disk_while_others_are_under_way(images, ledger):
    seen = []

    class Waiting(SlowTeacher):
        def embed(self, images):
            found = super().embed(images)
            if "image2" in [image.id for image in images]:
                ends = time.monotonic() + 10
                with Ledger(ledger.path, read_only=True) as watched:
                    while watched.summary().answered < 8 and time.monotonic() < ends:
                        time.sleep(0.005)
                    seen.append(watched.summary().answered)
            return found

    ask(Waiting(0), images, range(20), ledger, budget=40, batch_size=2, concurrency=2)
    assert seen[0] >= 8


def test_impossible_numbers_are_refused(images, ledger):
    with pytest.raises(ArgumentError, match="at least 1"):
        ask(SlowTeacher(), images, [0], ledger, budget=1, concurrency=0)


# Limits by the minute, of a service whose minute is short

MINUTE = 0.3
FASTER = 60 / MINUTE


class Limit:
    """Lets so many requests through in each of its minutes."""

    def __init__(self, service: MockService, a_minute: int, headers) -> None:
        self.service, self.a_minute, self.headers = service, a_minute, headers
        self.begun, self.served, self.refused = time.monotonic(), 0, 0
        service.script = self  # asked for a step each time

    def __bool__(self) -> bool:
        return True

    def pop(self, _: int):
        now = time.monotonic()
        if now - self.begun > MINUTE:
            self.begun, self.served = now, 0
        if self.served < self.a_minute:
            self.served += 1
            return None
        self.refused += 1
        left = (MINUTE - (now - self.begun)) * FASTER
        return lambda handler, vectors: send(handler, 429, {"detail": "slow down"}, **self.headers(left))


@pytest.mark.parametrize(
    "headers",
    [
        lambda left: {},
        lambda left: {"Retry_After": str(int(left) + 1)},
        lambda left: {"X_RateLimit_Remaining_Requests": "0", "X_RateLimit_Reset_Requests": f"{left:.1f}s"},
    ],
    ids=["without headers", "retry-after", "x-ratelimit"],
)
def test_a_storm_of_429_is_waited_out_and_nothing_is_paid_twice(headers, service, images, ledger):
    limit = Limit(service, 5, headers)
    teacher = open_service(
        service.url,
        api="jina",
        model="m",
        headers=["Authorization=TEACHER_KEY"],
        sleep=lambda seconds: time.sleep(seconds / FASTER),
    )
    answers = ask(teacher, images, range(40), ledger, budget=40, batch_size=2, concurrency=6)
    np.testing.assert_allclose(answers.embeddings, truth(images), rtol=1e-6)
    assert limit.refused > 0
    assert len(service.asked) == 20
    assert ledger.summary().spent == 40
    assert service.faults == []


def test_requests_are_apart_and_so_are_those_sent_again():
    now = [100.0]
    pace = Pace(30, sleep=lambda seconds: now.__setitem__(0, now[0] + seconds), clock=lambda: now[0])
    starts = []
    for attempts in (1, 3, 1):
        with pace.turn() as turn:
            for attempt in range(attempts):
                turn.start()
                starts.append(now[0])
                if attempt + 1 < attempts:
                    turn.wait(0.5)
    assert starts == [100.0, 102.0, 104.0, 106.0, 108.0]


def test_nothing_new_starts_while_one_was_turned_away():
    pace = Pace()
    started = threading.Event()

    def newcomer() -> None:
        with pace.turn() as turn:
            turn.start()
            started.set()

    with pace.turn() as turned_away:
        turned_away.start()
        turned_away.wait(0.001)
        thread = threading.Thread(target=newcomer)
        thread.start()
        turned_away.start()  # goes first
        assert not started.wait(0.05)
    thread.join(5)
    assert started.is_set()


def test_a_hurried_pace_asks_nothing_more_and_is_itself_again_afterwards():
    pace = Pace()
    with pace.hurried(), pace.turn() as turn, pytest.raises(NotAsked):
        turn.start()
    with pace.turn() as turn:
        turn.start()


def test_a_limit_that_is_used_up_is_known_before_the_next_request():
    now = [0.0]
    pace = Pace(sleep=lambda seconds: now.__setitem__(0, now[0] + seconds), clock=lambda: now[0])
    pace.heard({"X-RateLimit-Remaining-Requests": "0", "X-RateLimit-Reset-Requests": "7s"})
    with pace.turn() as turn:
        turn.start()
    assert now == [7.0]
    assert used_up({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "7s"}) is None
    assert used_up({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-requests": "7s"}) is None
    assert used_up({"retry-after": "7"}) is None


def test_no_secret_is_told_by_what_waits_or_fails(service, images, ledger, caplog):
    said = {"detail": f"Bearer {KEY} has asked too often", "token": KEY}
    service.script = [lambda handler, vectors: send(handler, 429, said)] * 3
    teacher = open_service(
        f"{service.url}?key={KEY}",
        api="jina",
        model="m",
        headers=["Authorization=TEACHER_KEY"],
        retries=2,
        sleep=lambda seconds: None,
    )
    service.path += f"?key={KEY}"
    with caplog.at_level("DEBUG", logger="absl"), pytest.raises(NotAsked, match="after 2 retries") as caught:
        ask(teacher, images, range(4), ledger, budget=4)
    told = [str(caught.value), caplog.text, teacher.name, teacher.view, teacher.shown_request(images[:2])]
    assert "429" in caplog.text
    assert not any(KEY in text for text in told)
