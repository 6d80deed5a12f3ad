"""The black box: providers of teacher answers, the ledger that pays for each once, and the choice of questions."""

from kdistill.teachers.asking import Answers, ask
from kdistill.teachers.ledger import Ledger
from kdistill.teachers.opening import open_teacher
from kdistill.teachers.planning import Plan, check_budget, plan
from kdistill.teachers.preprocessing import SCALINGS
from kdistill.teachers.records import LedgerSummary
from kdistill.teachers.selection import STRATEGIES, select
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
