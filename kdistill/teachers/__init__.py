"""The black box: providers of teacher answers, the ledger that pays for each once, and the choice of questions."""

from kdistill.teachers.asking import Answers, ask
from kdistill.teachers.choosing.planning import Plan, check_budget, plan
from kdistill.teachers.choosing.selection import STRATEGIES, select
from kdistill.teachers.ledger.ledger import Ledger
from kdistill.teachers.ledger.records import LedgerSummary
from kdistill.teachers.opening import open_teacher
from kdistill.teachers.providers.preprocessing import SCALINGS
from kdistill.teachers.teacher import BadAnswer, NoAnswer, NotAsked, Teacher
from kdistill.teachers.whitening import Whitening, fit_whitening

__all__ = [
    "SCALINGS",
    "STRATEGIES",
    "Answers",
    "BadAnswer",
    "Ledger",
    "LedgerSummary",
    "NoAnswer",
    "NotAsked",
    "Plan",
    "Teacher",
    "Whitening",
    "ask",
    "check_budget",
    "fit_whitening",
    "open_teacher",
    "plan",
    "select",
]
