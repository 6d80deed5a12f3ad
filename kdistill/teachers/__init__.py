"""The black box: providers of teacher answers, the ledger that pays for each once, and the choice of questions."""

from kdistill.teachers.asking import ask
from kdistill.teachers.choosing.known import known_positions, prefer_known
from kdistill.teachers.choosing.planning import Plan, check_budget, plan
from kdistill.teachers.choosing.selection import STRATEGIES, select
from kdistill.teachers.ledger.ledger import Ledger
from kdistill.teachers.ledger.records import JUDGING, LEARNING, SCORING, AccountSummary, LedgerSummary
from kdistill.teachers.opening import open_teacher
from kdistill.teachers.providers.preprocessing import SCALINGS
from kdistill.teachers.questions import Answers
from kdistill.teachers.services.transport.client import post_json
from kdistill.teachers.teacher import BadAnswer, NoAnswer, NotAsked, Teacher
from kdistill.teachers.whitening import Whitening, fit_whitening

__all__ = [
    "JUDGING",
    "LEARNING",
    "SCALINGS",
    "SCORING",
    "STRATEGIES",
    "AccountSummary",
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
    "known_positions",
    "open_teacher",
    "plan",
    "post_json",
    "prefer_known",
    "select",
]
