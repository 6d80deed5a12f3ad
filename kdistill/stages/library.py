"""The stages of the library itself; those of deployment stand in `export.stages`."""

from kdistill.settings import GROUP_OF, Settings
from kdistill.settings.effects import chooses
from kdistill.stages.stage import Stage

_STUDENT = frozenset(name for name, group in GROUP_OF.items() if group == "student")


def _questions_do_not_need(settings: Settings) -> frozenset[str]:
    """The student decides which questions are asked only where its features do."""
    training_only = frozenset({"pair_tie_margin", "ranker_steps"})
    return training_only if chooses(settings) == "student" else training_only | _STUDENT


ASK = Stage(
    "ask",
    "chooses the questions, spends the budget and keeps the answers",
    "kdistill.stages.asking.ask:ask_teacher",
    groups=("data", "teacher", "asking", "comparing", "student"),
    settings=("seed",),
    inputs=("pool", "teacher", "weights of what chooses"),
    makes=("answers.npz",),
    # Kept by what they were made from, so that they are not made again for each question more.
    continues=tuple(f"{cache}{end}" for cache in ("teacher.keras", "features.npz") for end in ("", ".made.json")),
    ignores=_questions_do_not_need,
)

DISTILL = Stage(
    "distill",
    "trains the student on the answers",
    "kdistill.stages.distilling.distill:distill",
    groups=("student", "joint", "training", "compaction", "comparing"),
    settings=("seed", "teacher_answers"),
    inputs=("weights", "validation"),
    reads=("answers.npz",),
    makes=("student.keras", "history.jsonl"),
    continues=("history.jsonl",),
    follows=("ask",),
)

EVALUATE = Stage(
    "evaluate",
    "judges the teacher, the student and the student before distillation",
    "kdistill.stages.judging.evaluate:evaluate",
    groups=("evaluation", "student"),
    settings=("seed",),
    inputs=("gallery", "queries", "images for whitening", "weights", "teacher"),
    reads=("student.keras",),
    makes=("gallery.npz", "neighbours.json"),
    follows=("distill",),
)

REPORT = Stage(
    "report",
    "writes one HTML page of what the other stages gave",
    "kdistill.stages.report:report",
    groups=(),
    reads=("student.keras", "neighbours.json"),
    makes=("report.html",),
    follows=("evaluate", "export", "benchmark"),
)

LIBRARY_STAGES = (ASK, DISTILL, EVALUATE, REPORT)
