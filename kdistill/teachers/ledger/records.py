"""The words of the ledger: the states of a question, reservations and sums."""

import dataclasses

IN_FLIGHT, ANSWERED, UNKNOWN, BAD = "in flight", "answered", "unknown", "bad"


@dataclasses.dataclass(frozen=True)
class Question:
    """One image to ask about: the hash of its content, and the id under which it is known here."""

    content: str
    name: str


@dataclasses.dataclass(frozen=True)
class Reservation:
    """What `Ledger.reserve` made of a list of questions.

    Attributes:
        granted: counted against the budget for this process: ask them now.
        busy: being asked by another living process.
        left: free to be asked, but beyond the limit or the budget.
    """

    granted: tuple[Question, ...]
    busy: tuple[Question, ...]
    left: tuple[Question, ...]


@dataclasses.dataclass(frozen=True)
class LedgerSummary:
    """What was spent and what came of it.

    Attributes:
        teacher, view: whose answers these are (None in a ledger without any question).
        dimension: Dt, None before the first answer.
        spent: questions that count against the budget, those asked twice counted twice.
        cost: their price in the user's currency.
        answered, in_flight, unknown, bad: questions in each state; those of lost askers are unknown.
        imported: answers that came from another ledger and count nothing here.
        first_asked_at, last_asked_at: seconds since 1970 (UTC), or None.
    """

    teacher: str | None
    view: str | None
    dimension: int | None
    spent: int
    cost: float
    answered: int
    in_flight: int
    unknown: int
    bad: int
    imported: int
    first_asked_at: float | None
    last_asked_at: float | None
