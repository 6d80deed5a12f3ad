"""The stage `evaluate`: teacher, distilled student and the student before distillation, in one table."""

import dataclasses
import json
from typing import Any

import keras
import numpy as np
from absl import logging

from kdistill import students
from kdistill.data import ImageSet, RetrievalData
from kdistill.errors import KdistillError, first_line
from kdistill.evaluation import Embedded, embed_images
from kdistill.files.whole import write_whole
from kdistill.hashing.codes import pack_codes, unpack_codes
from kdistill.runtimes.keras_models.keras_files import load_keras_file
from kdistill.settings import Settings
from kdistill.stages.asking.held_out import learning_pool
from kdistill.stages.backbone import trusted_packages
from kdistill.stages.judging.across import Across, write_gallery
from kdistill.stages.judging.held_out import HeldOutJudge
from kdistill.stages.judging.judge import Judge, Vectors, drawn_queries
from kdistill.stages.judging.likeness import described_likeness, likeness
from kdistill.stages.judging.postprocess import postprocessed, row_name
from kdistill.stages.judging.scoring import scoring_costs, teacher_to_score, teacher_vectors
from kdistill.stages.judging.shown import shown_neighbours
from kdistill.stages.judging.table import Table, as_text
from kdistill.stages.judging.verdict import verdict_of
from kdistill.stages.opening.models import student_before
from kdistill.stages.opening.sources import data_of
from kdistill.stages.space import read_space
from kdistill.stages.stage import Result
from kdistill.stages.workdir import Workdir


def evaluate(settings: Settings, workdir: Workdir) -> Result:
    """Gives `rows` and `verdict`, and writes `gallery.npz` and the neighbours that the report shows.

    Raises:
        KdistillError: no student yet, or no readable image.
    """
    student = load_student(workdir, settings)
    strict, seed = settings.run.strict, settings.run.small_seed
    whole = data_of(settings)
    data = dataclasses.replace(whole, pool=learning_pool(settings, workdir, whole))
    data, searched = _embed_readable(student, data, strict)
    drawn = drawn_queries(data, settings.evaluation.most_queries, settings.run.seed)
    judge, held_out = Judge(data, settings.evaluation.max_memory_mb, drawn), HeldOutJudge.of(data, workdir)
    teacher, parameters = _teacher(settings, workdir, judge)
    table = Table(judge, held_out, teacher, workdir.figures.get("queries", 0), seed)
    if teacher is not None:
        table.add("teacher", teacher, parameters, is_teacher=True, queries=None)
    agreement = table.add("student", searched, student.count_params())
    space = read_space(settings, workdir)
    across = None
    if space is not None:
        across = Across(settings, space, judge, held_out, teacher, searched)
        agreement = across.add_rows(table, student) or agreement
    assistant = _assistant(workdir, settings)
    if assistant is not None:
        answers = judge.embed(lambda images, role: _embed(assistant, images, f"assistant, {role}"))
        table.add("assistant", answers, assistant.count_params(), further_questions=0)
    if settings.student.hash_bits:
        codes = _signs(searched.gallery)
        numbers = searched.gallery if searched.queries is None else searched.queries
        for name, vectors in (
            ("student_codes", Vectors(codes, None if searched.queries is None else _signs(searched.queries))),
            ("student_codes_asymmetric", Vectors(codes, numbers)),
        ):
            table.add(name, vectors, student.count_params())
    further = row_name(settings.evaluation)
    if further is not None:
        table.add(further, postprocessed(student, judge, settings), student.count_params())
    untouched = students.pooled_features(student_before(settings))
    before = judge.embed(lambda images, role: _embed(untouched, images, f"untouched, {role}"))
    agreement_before = table.add("untouched", before, untouched.count_params(), queries=0)

    if across is not None and across.gallery is not None:
        searched = across.searching
    write_gallery(workdir, data.gallery.ids, searched.gallery, across)
    shown = shown_neighbours(judge, searched, teacher, held_out, settings.run.seed)
    write_whole(workdir.neighbours, json.dumps(shown))
    verdict = verdict_of(table.rows, agreement, agreement_before, seed)
    print(f"{verdict.sentence}\n{as_text(table.rows)}")
    searching = len(data.gallery if data.queries is None else data.queries)
    searches = searching if drawn is None else len(drawn)
    figures: dict[str, Any] = {
        "rows": table.rows,
        "verdict": verdict.as_dict(),
        "dataset": data.name,
        "labelled": data.labelled,
        "gallery": len(data.gallery),
        "searches": searches,
    }
    if across is not None:
        figures["searched"] = across.whose
    if drawn is not None:
        figures["searches_of"] = searching
        logging.info(
            "%d of %d images searched, drawn with seed %d (--most_queries)", searches, searching, settings.run.seed
        )
    alike = None if whole.pool_is_gallery else likeness(untouched, data, before.gallery, seed, strict)
    if alike is not None:
        figures["likeness"] = alike
        if alike["differ"]:
            logging.warning("%s", described_likeness(alike))
    figures |= scoring_costs(settings, workdir)
    return Result(figures, [workdir.gallery, workdir.neighbours])


def _teacher(settings: Settings, workdir: Workdir, judge: Judge) -> tuple[Vectors | None, int | None]:
    """Returns the teacher's vectors and its number of parameters, each where it is known."""
    black_box = teacher_to_score(settings, workdir)
    if black_box is None:
        return None, None
    try:
        return teacher_vectors(black_box, judge, settings, workdir), getattr(black_box, "parameters", None)
    except KdistillError as error:
        # The teacher's row is an extra: a table may well hold no row for the images of the test.
        logging.warning("there is no row for the teacher: %s", error)
        return None, None


def _assistant(workdir: Workdir, settings: Settings) -> keras.Model | None:
    """Returns the assistant that taught the student; None where none did."""
    if not workdir.figures.get("assistant", {}).get("used"):
        return None
    return load_keras_file(workdir.needs(workdir.assistant, "assist"), trusted_packages(settings))


def load_student(workdir: Workdir, settings: Settings) -> keras.Model:
    """Returns the distilled student of a run of these settings.

    Raises:
        KdistillError: it does not exist yet or cannot be read.
    """
    path = workdir.needs(workdir.student, "distill")
    try:
        return load_keras_file(path, trusted_packages(settings))
    except Exception as error:
        reason = first_line(error)
        raise KdistillError(f"{path} is not a readable student: {reason}") from error


def _signs(rows: np.ndarray) -> np.ndarray:
    """Returns the codes of embeddings as vectors of -1 and 1, whose cosines rank as Hamming distances do."""
    return unpack_codes(pack_codes(rows)).astype(np.float32)


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
