"""The stage `report`: an HTML page and a model card from what the other stages measured."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from kdistill.data import Image, RetrievalData, UnreadableImage
from kdistill.facts.brought import is_brought
from kdistill.files.whole import read_json_object
from kdistill.report import Neighbour, NeighbourRow, Neighbours, write_report
from kdistill.report.model_card import write_model_card
from kdistill.settings import Settings
from kdistill.settings.groups.student import StudentSettings
from kdistill.stages.backbone import described_backbone, named_backbone
from kdistill.stages.judging.likeness import described_likeness
from kdistill.stages.opening.sources import data_of
from kdistill.stages.stage import Result
from kdistill.stages.tuning.tuned import told, tuned
from kdistill.stages.workdir import Workdir
from kdistill.training.callbacks import read_history


def report(settings: Settings, workdir: Workdir) -> Result:
    """Writes `report.html` and `README.md`; parts that were not measured yet are left out.

    Raises:
        ArgumentError: the stage `evaluate` was not run.
    """
    workdir.needs(workdir.neighbours, "evaluate")
    metrics = workdir.figures
    student = settings.student
    summary = {
        "data": metrics.get("dataset"),
        "teacher": metrics.get("teacher"),
        "queries to the teacher": _queries(metrics),
        "held out for judging": _held_out(metrics),
        "chosen by tuning": told(metrics["tuned"]["chosen"]) if "tuned" in metrics else None,
        "assistant": _assistant(settings, metrics.get("assistant")),
        "space": _space(metrics),
        "known before": _known_before(metrics),
        "student": f"{described_backbone(student)}, {student.image_size} px",
        "loss": settings.training.loss,
        "gallery": f"{metrics['gallery']:,} images" if "gallery" in metrics else None,
        "pool and gallery": described_likeness(metrics["likeness"]) if "likeness" in metrics else None,
        "searches": _searches(metrics),
    }
    shown = json.loads(workdir.neighbours.read_text())
    pictures = _Pictures(data_of(settings))
    write_report(
        workdir.report,
        title=f"kdistill: {metrics.get('dataset', workdir.path.name)}",
        summary=summary,
        rows=metrics.get("rows", []),
        files=metrics.get("files", []),
        history=read_history(workdir.history),
        verdict=metrics.get("verdict", {}).get("sentence", ""),
        trials=_trials(metrics),
        neighbours=Neighbours(
            marks=shown["marks"],
            queries=[pictures.row(query) for query in shown["queries"]],
            worst=[pictures.row(query) for query in shown["worst"]],
            odd=[pictures.odd(query) for query in shown["odd"]],
        ),
        flags=workdir.flags.read_text() if workdir.flags.exists() else "",
    )
    card = read_json_object(workdir.path / "card.json")
    measured = {row["name"] for row in metrics.get("files", [])}
    # The card also has files that were converted since.
    since = [row for row in card.get("files", []) if row["name"] not in measured]
    write_model_card(
        workdir.card,
        name=workdir.path.resolve().name,
        figures={**metrics, "files": [*metrics.get("files", []), *since]},
        card=card or None,
        facts=_facts(tuned(settings, workdir), metrics),
    )
    logging.info("wrote %s and %s", workdir.report, workdir.card.name)
    return Result(made=[workdir.report, workdir.card])


def _facts(settings: Settings, metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns what the model card says beside the figures."""
    student, training, cost = settings.student, settings.training, metrics.get("cost")
    start = _start(student)
    return {
        "asked": {
            "teacher": metrics.get("teacher"),
            "it was shown": metrics.get("teacher_view"),
            "its answers": settings.teacher.teacher_answers,
            "questions": metrics.get("queries"),
            "cost": f"{cost:.2f}" if cost else "no price was given",
            "held out for judging": _held_out(metrics),
            "questions chosen by": settings.asking.selection,
            "known before": _known_before(metrics),
            "assistant": _assistant(settings, metrics.get("assistant")),
        },
        "data": {
            "data": metrics.get("dataset"),
            "images asked about": metrics.get("queries"),
            "gallery": metrics.get("gallery"),
        },
        "network": {
            "backbone": described_backbone(student),
            "input": f"{student.image_size} x {student.image_size} pixels, RGB, 0 to 255",
            "start": _start(student),
            "space": _space(metrics),
            "loss": training.loss,
            "steps": f"{training.steps:,} of {training.batch_size} images",
            "seed": settings.run.seed,
        },
        "start": {"weights": None if start == "random" else f"here {start}"},
    }


def _start(student: StudentSettings) -> str:
    if student.student_weights is not None:
        return Path(student.student_weights).name
    return "what the network brings" if is_brought(student.backbone) else "random"


def _searches(metrics: Mapping[str, Any]) -> str | None:
    if "searches_of" not in metrics:
        return None
    return f"{metrics['searches']:,} of {metrics['searches_of']:,} images search, drawn by the seed"


def _assistant(settings: Settings, about: Mapping[str, Any] | None) -> str | None:
    if about is None:
        return None
    if not about["used"]:
        return f"not used: {about['why']}"
    chosen = settings.assistant
    network = named_backbone(str(chosen.assistant_backbone))
    return f"{network}, {chosen.assistant_image_size} px: answers for {about['answers']:,} images at no question"


def _space(metrics: Mapping[str, Any]) -> str | None:
    about = metrics.get("space")
    if about is None:
        return None
    kept = f", which keep {about['overlap_kept']:.1%} of its nearest ten" if "overlap_kept" in about else ""
    searched = f"; searched: the {metrics['searched']}'s vectors" if "searched" in metrics else ""
    return (
        f"the teacher's, {about['dimension']:,} of {about['teacher_dimension']:,} dimensions{kept}; {about['known']:,} "
        f"known vectors{searched}"
    )


def _known_before(metrics: Mapping[str, Any]) -> str | None:
    if "known_before" not in metrics:
        return None
    beside = metrics.get("space", {}).get("known_without_question", 0)
    more = f", and {beside:,} vectors without a photo to learn from" if beside else ""
    return f"answers for {metrics['known_before']:,} photos at no question{more}"


def _trials(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = metrics.get("tuned", {"trials": [], "chosen": {}})
    return [
        {**trial, "name": told(trial["changes"]), "chosen": trial["changes"] == found["chosen"]}
        for trial in found["trials"]
    ]


def _queries(metrics: Mapping[str, Any]) -> str | None:
    if "queries" not in metrics:
        return None
    cost = f" (cost {metrics['cost']:.2f})" if metrics.get("cost") else ""
    return f"{metrics['queries']:,}{cost}"


def _held_out(metrics: Mapping[str, Any]) -> str | None:
    if "held_out" not in metrics:
        return None
    cost = f", cost {metrics['judge_cost']:.2f}" if metrics["judge_cost"] else ""
    return f"{metrics['held_out']:,} photos of the gallery ({metrics['judge_queries']:,} further questions{cost})"


class _Pictures:
    """The queries of the page with pixels by id; a grey square stands for an image that has gone since."""

    def __init__(self, data: RetrievalData) -> None:
        self._gallery = {image.id: image for image in data.gallery}
        self._queries = self._gallery if data.queries is None else {image.id: image for image in data.queries}

    def row(self, query: Mapping[str, Any]) -> NeighbourRow:
        """Returns a query with what each model found."""
        columns = {
            name: [Neighbour(hit["id"], _pixels(self._gallery, hit["id"]), hit["score"], hit["right"]) for hit in found]
            for name, found in query["columns"].items()
        }
        thumb = _pixels(self._queries, query["query"])
        return NeighbourRow(query["query"], thumb, query["label"], columns, query["overlap"])

    def odd(self, query: Mapping[str, Any]) -> Neighbour:
        """Returns a query that is like nothing else, with the cosine to its nearest image."""
        return Neighbour(query["query"], _pixels(self._queries, query["query"]), query["nearest"], None)


def _pixels(images: Mapping[str, Image], name: str) -> np.ndarray:
    try:
        return images[name].pixels()
    except (KeyError, UnreadableImage):
        return np.full((64, 64, 3), 128, np.uint8)
