"""Stages that take a millisecond: what each makes says from what it was made, so that any mixture of runs shows."""

import hashlib
import json
from pathlib import Path
from typing import Any

from kdistill.files.whole import write_whole
from kdistill.settings import Settings
from kdistill.settings.effects import has_assistant, in_teacher_space
from kdistill.stages.opening.sources import data_of
from kdistill.stages.stage import Result
from kdistill.stages.workdir import Workdir


class Killed(BaseException):
    """Stands for a process that is gone at once."""


KILL: dict[str, str] = {}
"""stage -> "before" or "after" its files are written, for the next run of it."""


def digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def contents(images: Any) -> list[str]:
    return [] if images is None else [f"{image.id} {image.content_hash()}" for image in images]


def make(workdir: Workdir, stage: str, files: dict[str, str]) -> list[Path]:
    moment = KILL.pop(stage, None)
    if moment == "before":
        raise Killed
    for name, text in files.items():
        write_whole(workdir.path / name, text)
    if moment == "after":
        raise Killed
    return [workdir.path / name for name in files]


def ask(settings: Settings, workdir: Workdir) -> Result:
    data, judges = data_of(settings), settings.asking.judge_queries
    text = digest("answers", settings.asking.query_budget, settings.run.seed, contents(data.pool))
    files = {"answers.npz": text}
    workdir.judging.unlink(missing_ok=True)
    if judges:
        files["judging.npz"] = digest("judging", judges, settings.run.seed, contents(data.gallery))
    return Result({"queries": settings.asking.query_budget, "answers": text}, make(workdir, "ask", files))


def judging(workdir: Workdir) -> str:
    return workdir.judging.read_text() if workdir.judging.exists() else ""


def space(settings: Settings, workdir: Workdir) -> Result:
    answers = (workdir.path / "answers.npz").read_text() + judging(workdir)
    text = digest("space", answers, settings.student.embedding_dim)
    return Result({"space": text}, make(workdir, "space", {"space.npz": text}))


def space_of(settings: Settings, workdir: Workdir) -> str:
    return (workdir.path / "space.npz").read_text() if in_teacher_space(settings) else ""


def assist(settings: Settings, workdir: Workdir) -> Result:
    answers = (workdir.path / "answers.npz").read_text() + judging(workdir) + space_of(settings, workdir)
    text = digest("assistant", answers, settings.assistant.assistant_steps, settings.run.seed)
    return Result({"assistant": text}, make(workdir, "assist", {"assistant.npz": text}))


def tune(settings: Settings, workdir: Workdir) -> Result:
    answers = (workdir.path / "answers.npz").read_text() + judging(workdir)
    text = digest("tuned", answers, settings.training.tune, settings.training.steps, settings.run.seed)
    return Result({"tuned": text}, make(workdir, "tune", {"tuned.json": text}))


def distill(settings: Settings, workdir: Workdir) -> Result:
    answers = (workdir.path / "answers.npz").read_text() + judging(workdir) + space_of(settings, workdir)
    if has_assistant(settings):
        answers += (workdir.path / "assistant.npz").read_text()
    if settings.training.tune:
        answers += (workdir.path / "tuned.json").read_text()
    text = digest("student", answers, settings.training.steps, settings.training.loss, settings.run.seed)
    return Result(made=make(workdir, "distill", {"student.keras": text}))


def evaluate(settings: Settings, workdir: Workdir) -> Result:
    student = (workdir.path / "student.keras").read_text() + space_of(settings, workdir)
    row = digest("row", student, contents(data_of(settings).gallery), settings.evaluation.scales, judging(workdir))
    made = make(workdir, "evaluate", {"gallery.npz": digest("gallery", student), "neighbours.json": row})
    verdict = {"better": settings.training.loss != "gram", "sentence": f"so says {row}"}
    return Result({"rows": [{"name": "student", "map": row}], "verdict": verdict}, made)


def export(settings: Settings, workdir: Workdir) -> Result:
    student, gallery = ((workdir.path / name).read_text() for name in ("student.keras", "gallery.npz"))
    text = digest("files", student, gallery, settings.export.top_k)
    return Result({"files": [{"name": "card", "map": text}]}, make(workdir, "export", {"card.json": text}))


def benchmark(settings: Settings, workdir: Workdir) -> Result:
    card = (workdir.path / "card.json").read_text()
    return Result({"latency": digest("latency", card, settings.measuring.benchmark_runs)})


def report(settings: Settings, workdir: Workdir) -> Result:
    text = json.dumps({"figures": workdir.figures, "flags": workdir.flags.read_text()})
    return Result(made=make(workdir, "report", {"report.html": text}))
