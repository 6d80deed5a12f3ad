"""The words of the ledger: the states of a question, accounts, reservations and sums."""

import dataclasses

IN_FLIGHT, ANSWERED, UNKNOWN, BAD = "in flight", "answered", "unknown", "bad"

LEARNING, JUDGING, SCORING = "learning", "judging", "scoring"
"""Accounts: what the student is taught from, what it is judged by while it learns, and the teacher's own score."""


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
class AccountSummary:
    """What one account spent, and what came of the questions that it was the first to pay for.

    Attributes:
        spent, cost: of its own askings, also of questions that another account had asked in vain before.
        answered, in_flight, unknown, bad, imported: as in `LedgerSummary`.
    """

    spent: int = 0
    cost: float = 0.0
    answered: int = 0
    in_flight: int = 0
    unknown: int = 0
    bad: int = 0
    imported: int = 0


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
        accounts: name -> its part of all this.
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
    accounts: dict[str, AccountSummary] = dataclasses.field(default_factory=dict)

    def account(self, name: str) -> AccountSummary:
        """Returns an account's part, zeros for one that never asked."""
        return self.accounts.get(name, AccountSummary())
