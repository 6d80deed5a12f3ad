"""The stage `evaluate`: teacher, distilled student and the student before distillation, in one table."""

import json
from typing import Any

import keras
import numpy as np
from absl import logging

from kdistill import students
from kdistill.data import ImageSet, RetrievalData
from kdistill.errors import KdistillError, first_line
from kdistill.evaluation import Embedded, RetrievalScores, embed_images
from kdistill.files.whole import write_arrays, write_whole
from kdistill.hashing.codes import pack_codes, unpack_codes
from kdistill.runtimes.keras_files import load_keras_file
from kdistill.settings import Settings
from kdistill.stages.judging.judge import Judge, Vectors, drawn_queries
from kdistill.stages.judging.postprocess import postprocessed, row_name
from kdistill.stages.judging.scoring import scoring_costs, teacher_to_score, teacher_vectors
from kdistill.stages.models import start_student
from kdistill.stages.sources import data_of
from kdistill.stages.stage import Result
from kdistill.stages.workdir import Workdir

NEIGHBOUR_QUERIES = 12


def evaluate(settings: Settings, workdir: Workdir) -> Result:
    """Gives `rows` and writes `gallery.npz`, and the neighbours that the report shows.

    Raises:
        KdistillError: no student yet, or no readable image.
    """
    student = load_student(workdir)
    data, searched = _embed_readable(student, data_of(settings), settings.run.strict)
    drawn = drawn_queries(data, settings.evaluation.most_queries, settings.run.seed)
    judge = Judge(data, settings.evaluation.max_memory_mb, drawn)
    queries = workdir.figures.get("queries", 0)
    rows = []
    black_box = teacher_to_score(settings, workdir)
    teacher: Vectors | None = None
    if black_box is not None:
        try:
            teacher = teacher_vectors(black_box, judge, settings, workdir)
        except KdistillError as error:
            # The teacher's row is an extra: a table may well hold no row for the images of the test.
            logging.warning("there is no row for the teacher: %s", error)
        else:
            parameters = getattr(black_box, "parameters", None)
            rows.append(_row("teacher", judge.scores(teacher), teacher, None, parameters))
    rows.append(_row("student", judge.scores(searched, teacher), searched, queries, student.count_params()))
    assistant = _assistant(workdir)
    if assistant is not None:
        answers = judge.embed(lambda images, role: _embed(assistant, images, f"assistant, {role}"))
        about = _row("assistant", judge.scores(answers, teacher), answers, queries, assistant.count_params())
        rows.append({**about, "further_questions": 0})
    if settings.student.hash_bits:
        codes = _signs(searched.gallery)
        numbers = searched.gallery if searched.queries is None else searched.queries
        for name, vectors in (
            ("student_codes", Vectors(codes, None if searched.queries is None else _signs(searched.queries))),
            ("student_codes_asymmetric", Vectors(codes, numbers)),
        ):
            rows.append(_row(name, judge.scores(vectors, teacher), vectors, queries, student.count_params()))
    further = row_name(settings.evaluation)
    if further is not None:
        vectors = postprocessed(student, judge, settings)
        rows.append(_row(further, judge.scores(vectors, teacher), vectors, queries, student.count_params()))
    untouched = students.pooled_features(start_student(settings.student, settings.run.small_seed))
    before = judge.embed(lambda images, role: _embed(untouched, images, f"untouched, {role}"))
    rows.append(_row("untouched", judge.scores(before, teacher), before, 0, untouched.count_params()))

    write_arrays(workdir.gallery, ids=np.array(data.gallery.ids), embeddings=searched.gallery)
    searching = len(data.gallery if data.queries is None else data.queries)
    count = min(NEIGHBOUR_QUERIES, searching)
    shown = np.sort(np.random.default_rng(settings.run.seed).choice(searching, count, replace=False))
    columns = {"teacher": teacher, "student": searched}
    write_whole(
        workdir.neighbours,
        json.dumps({name: judge.neighbours(vectors, shown) for name, vectors in columns.items() if vectors}),
    )
    print(table(rows))
    searches = searching if drawn is None else len(drawn)
    figures = {"rows": rows, "dataset": data.name, "gallery": len(data.gallery), "searches": searches}
    if drawn is not None:
        figures["searches_of"] = searching
        logging.info(
            "%d of %d images searched, drawn with seed %d (--most_queries)", searches, searching, settings.run.seed
        )
    figures |= scoring_costs(settings, workdir)
    return Result(figures, [workdir.gallery, workdir.neighbours])


def _assistant(workdir: Workdir) -> keras.Model | None:
    """Returns the assistant that taught the student; None where none did."""
    if not workdir.figures.get("assistant", {}).get("used"):
        return None
    return load_keras_file(workdir.needs(workdir.assistant, "assist"))


def load_student(workdir: Workdir) -> keras.Model:
    """Returns the distilled student of a run.

    Raises:
        KdistillError: it does not exist yet or cannot be read.
    """
    path = workdir.needs(workdir.student, "distill")
    try:
        return load_keras_file(path)
    except Exception as error:
        reason = first_line(error)
        raise KdistillError(f"{path} is not a readable student: {reason}") from error


def table(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as text for a terminal."""
    columns = {"map": "mAP", "recall_at_1": "recall@1", "map_at_r": "mAP@R"}
    width = max(len(row["name"]) for row in rows) + 2
    lines = [" " * width + "".join(f"{title:>12}" for title in (*columns.values(), "queries", "parameters"))]
    for row in rows:
        cells = [f"{row[name]:>12.3f}" if name in row else f"{'–':>12}" for name in columns]
        cells += [
            f"{'–' if row.get(name) is None else format(row[name], ',d'):>12}" for name in ("queries", "parameters")
        ]
        lines.append(f"{row['name']:<{width}}" + "".join(cells))
    return "\n".join(lines)


def _signs(rows: np.ndarray) -> np.ndarray:
    """Returns the codes of embeddings as vectors of -1 and 1, whose cosines rank as Hamming distances do."""
    return unpack_codes(pack_codes(rows)).astype(np.float32)


def _row(
    name: str, scores: RetrievalScores, vectors: Vectors, queries: int | None, parameters: int | None
) -> dict[str, Any]:
    return {
        "name": name,
        **scores.as_dict(),
        "queries": queries,
        "parameters": parameters,
        "dimension": int(vectors.gallery.shape[1]),
    }


def _embed(model: keras.Model, images: ImageSet, description: str) -> np.ndarray:
    size = students.image_size(model)
    return embed_images(model, images, image_size=size, strict=True, description=description).embeddings


def _embed_readable(student: keras.Model, data: RetrievalData, strict: bool) -> tuple[RetrievalData, Vectors]:
    """Embeds with the student and returns the data without the images that cannot be read, each of them named."""
    gallery = _tolerant(student, data.gallery, "gallery", strict)
    queries = None if data.queries is None else _tolerant(student, data.queries, "queries", strict)
    readable = data.restricted_to(gallery.indices, None if queries is None else queries.indices)
    return readable, Vectors(gallery.embeddings, None if queries is None else queries.embeddings)


def _tolerant(student: keras.Model, images: ImageSet, role: str, strict: bool) -> Embedded:
    size = students.image_size(student)
    embedded = embed_images(student, images, image_size=size, strict=strict, description=f"student, {role}")
    for _, reason in embedded.skipped:
        logging.warning("skipped: %s", reason)
    if embedded.skipped:
        logging.warning("%d of %d images of the %s were skipped", len(embedded.skipped), len(images), role)
    return embedded
