"""The stages of the library itself; those of deployment stand in `export.stages`."""

from kdistill.settings import GROUP_OF, Settings
from kdistill.settings.effects import (
    chooses,
    has_assistant,
    in_teacher_space,
    is_compared,
    trains_whole,
    without_effect,
)
from kdistill.stages.stage import Stage

_ASSISTANT = frozenset(name for name, group in GROUP_OF.items() if group == "assistant")
_STUDENT_FEATURES = ("backbone", "backbone_scaling", "alpha", "image_size", "pooling", "student_weights")
_JOINT = frozenset(name for name, group in GROUP_OF.items() if group == "joint")
_FEATURES = frozenset(
    f"assistant_{name}" for name in ("backbone", "backbone_scaling", "alpha", "image_size", "weights")
)
_STUDENT = frozenset(name for name, group in GROUP_OF.items() if group == "student")
_WHOLE = ("batch_size", "augment", "callbacks", "training_precision")
"""Of the training: what a whole assistant takes over."""


def _questions_do_not_need(settings: Settings) -> frozenset[str]:
    """Student and assistant decide which questions are asked only where their features do."""
    chooser = chooses(settings)
    ignored = frozenset({"pair_tie_margin"}) | _ASSISTANT
    if chooser == "assistant":
        ignored -= _FEATURES
    return ignored if chooser == "student" else ignored | _STUDENT


_CACHES = ("teacher.keras", "features.npz", "assistant_features.npz")

ASK = Stage(
    "ask",
    "chooses the questions, spends the budget and keeps the answers",
    "kdistill.stages.asking.ask:ask_teacher",
    groups=("data", "teacher", "asking", "comparing", "assistant", "student"),
    settings=("seed", "gallery_vectors"),
    inputs=("pool", "photos that can judge", "teacher", "gallery vectors", "weights of what chooses"),
    makes=("answers.npz", "judging.npz"),
    # Kept by what they were made from, so that they are not made again for each question more.
    continues=tuple(f"{cache}{end}" for cache in _CACHES for end in ("", ".made.json")),
    ignores=_questions_do_not_need,
)


SPACE = Stage(
    "space",
    "finds the dimensions of the teacher's space that are kept, and gathers the vectors that are known in it",
    "kdistill.stages.space:find_space",
    groups=(),
    settings=("space", "gallery_vectors", "embedding_dim"),
    inputs=("gallery vectors",),
    reads=("answers.npz", "judging.npz"),
    makes=("space.npz",),
    follows=("ask",),
    needed=in_teacher_space,
)


def _the_assistant_does_not_need(settings: Settings) -> frozenset[str]:
    """A head ranks no joint space; the student counts only where it is compared with, by its pretrained features.

    The weight of the teacher's own ranking is the student's affair.
    """
    ignored = {"assistant_truth"}
    if not is_compared(settings):
        ignored |= {*_STUDENT_FEATURES}
    if not trains_whole(settings):
        ignored |= {*_JOINT, *_WHOLE}
    return frozenset(ignored)


ASSIST = Stage(
    "assist",
    "teaches a larger network the answers, which then answers for every image of the pool",
    "kdistill.stages.assisting.assist:assist",
    groups=("assistant", "joint", "comparing", "space"),
    settings=("seed", "teacher_answers", *_WHOLE, "whiten_teacher", *_STUDENT_FEATURES),
    inputs=("pool", "assistant", "weights of what it is compared with"),
    reads=("answers.npz", "judging.npz", "space.npz"),
    makes=("assistant.npz",),
    continues=("assistant_features.npz", "assistant_features.npz.made.json"),
    follows=("ask", "space"),
    needed=has_assistant,
    ignores=_the_assistant_does_not_need,
)

TUNE = Stage(
    "tune",
    "tries settings of training, each judged by the held-out answers",
    "kdistill.stages.tuning.tune:tune",
    groups=("student", "joint", "training", "assistant", "space"),
    settings=("seed", "teacher_answers"),
    inputs=("pool", "weights", "validation"),
    reads=("answers.npz", "judging.npz", "space.npz", "assistant.npz"),
    makes=("tuned.json",),
    follows=("ask", "space", "assist"),
    needed=lambda settings: bool(settings.training.tune) and "tune" not in without_effect(settings),
)

DISTILL = Stage(
    "distill",
    "trains the student on the answers",
    "kdistill.stages.distilling.distill:distill",
    groups=("student", "joint", "training", "compaction", "assistant", "space"),
    settings=("seed", "teacher_answers"),
    inputs=("weights", "validation"),
    reads=("answers.npz", "judging.npz", "space.npz", "assistant.npz", "tuned.json"),
    makes=("student.keras", "history.jsonl"),
    continues=("history.jsonl",),
    follows=("ask", "space", "assist", "tune"),
)

EVALUATE = Stage(
    "evaluate",
    "judges the teacher, the student and the student before distillation",
    "kdistill.stages.judging.evaluate:evaluate",
    groups=("evaluation", "student", "space"),
    settings=("seed",),
    inputs=("pool", "gallery", "queries", "images for whitening", "weights", "teacher", "gallery vectors"),
    reads=("student.keras", "judging.npz", "space.npz"),
    makes=("gallery.npz", "neighbours.json"),
    follows=("distill",),
)

REPORT = Stage(
    "report",
    "writes an HTML page and a model card of what the other stages gave",
    "kdistill.stages.report:report",
    groups=(),
    reads=("student.keras", "neighbours.json"),
    makes=("report.html", "README.md"),
    follows=("evaluate", "export", "benchmark"),
)

LIBRARY_STAGES = (ASK, SPACE, ASSIST, TUNE, DISTILL, EVALUATE, REPORT)
