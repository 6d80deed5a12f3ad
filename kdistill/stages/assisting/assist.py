"""The stage `assist`: the assistant learns the teacher's answers, then answers for every image of the pool."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from kdistill import students
from kdistill.assistant import Assistant
from kdistill.assistant.agreement import cross_validated_overlap
from kdistill.assistant.assistant import answers_of
from kdistill.assistant.heads import Head, fit_orders, fit_preferences, fit_vectors
from kdistill.assistant.network import pooled_features, with_projection
from kdistill.data import ImageSet
from kdistill.evaluation import embed_images
from kdistill.files.whole import whole_file, write_arrays
from kdistill.preferences.consistency import settle
from kdistill.preferences.pairs import Preferences
from kdistill.settings import Settings
from kdistill.settings.effects import compares, is_compared, trains_whole
from kdistill.stages.asking.answers import answered_vectors, comparisons, places_of
from kdistill.stages.asking.pool_features import assistant_network, pool_features
from kdistill.stages.callbacks import RunContext, make_callbacks
from kdistill.stages.distilling.trainer import build_distiller
from kdistill.stages.identity import training_identity
from kdistill.stages.library import ASSIST
from kdistill.stages.models import SOURCE_MARGIN, read_images, start_student
from kdistill.stages.sources import data_of
from kdistill.stages.stage import Result
from kdistill.stages.workdir import Workdir
from kdistill.training.callbacks import CallbackStates

_WORTH_IT = 1.25
"""A pool has to be this many times as large as the answers: below, hardly an image is left that was not asked about."""


def assist(settings: Settings, workdir: Workdir) -> Result:
    """Writes `assistant.keras` and its answers, `assistant.npz`; or no answers, where it is not worth it, and says why.

    Raises:
        ArgumentError: nothing was asked yet.
        KdistillError: answers of another kind, damaged checkpoints, a loss that is not finite.
    """
    tf.config.experimental.enable_op_determinism()
    pool = data_of(settings).pool
    figures: dict[str, Any] = {}
    if is_compared(settings):
        why_not = _why_not(settings, workdir, pool, figures)
        if why_not:
            logging.warning("the run goes on without an assistant: %s", why_not)
            write_arrays(workdir.assistant_answers, ids=np.array([], "U1"), embeddings=np.zeros((0, 0), np.float32))
            return Result({"assistant": {**figures, "used": False, "why": why_not}}, [workdir.assistant_answers])
    network, rows, vectors = (_whole if trains_whole(settings) else _head)(settings, workdir, pool)
    with whole_file(workdir.assistant) as temporary:
        network.save(temporary)
    write_arrays(workdir.assistant_answers, ids=np.array(pool.ids)[rows], embeddings=vectors)
    figures |= {"used": True, "parameters": network.count_params(), "answers": len(rows), "further_questions": 0}
    logging.info("the assistant, %s parameters, answers for %s images at no question",
                 f"{network.count_params():,}", f"{len(rows):,}")  # fmt: skip
    return Result({"assistant": figures}, [workdir.assistant, workdir.assistant_answers])


def _why_not(settings: Settings, workdir: Workdir, pool: ImageSet, figures: dict[str, Any]) -> str:
    """Returns in half a sentence why nothing speaks for an assistant, or nothing; fills in what was measured."""
    assistant = settings.assistant
    if not str(assistant.assistant_backbone).endswith(".keras") and not assistant.assistant_weights:
        return "it has no pretrained weights, and from a random start a larger network learns no more from few answers"
    positions, answers = answered_vectors(settings, workdir, pool)
    if len(pool) < _WORTH_IT * len(positions):
        return f"of {len(pool)} images {len(positions)} were asked about, so hardly one is left to answer for"
    asked = pool.subset(positions.tolist())
    student = students.pooled_features(start_student(settings.student, settings.run.small_seed))
    network = pooled_features(assistant_network(settings, assistant.assistant_dim))
    for name, model in (("student_overlap", student), ("assistant_overlap", network)):
        seen = embed_images(
            model,
            asked,
            image_size=students.image_size(model),
            strict=settings.run.strict,
            description=f"{name.partition('_')[0]}, looking at what was asked",
        )
        overlap = cross_validated_overlap(seen.embeddings, answers[seen.indices], seed=settings.run.small_seed)
        figures[name] = round(overlap, 4)
    logging.info(
        "overlap of nearest neighbours with answers held out: assistant %.3f, student %.3f",
        figures["assistant_overlap"],
        figures["student_overlap"],
    )
    if figures["assistant_overlap"] <= figures["student_overlap"]:
        return (
            f"with held-out answers it agrees no better than the student, by {figures['assistant_overlap']:.3f} "
            f"against {figures['student_overlap']:.3f} of the nearest neighbours"
        )
    return ""


def _whole(settings: Settings, workdir: Workdir, pool: ImageSet) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """Returns the trained network, positions int64 [n] of the readable images and its vectors float32 [n, Da]."""
    positions, answers = answered_vectors(settings, workdir, pool)
    chosen, strict = settings.assistant, settings.run.strict
    side = chosen.assistant_image_size
    seen = read_images(
        pool.subset(positions.tolist()),
        round(side * SOURCE_MARGIN) if settings.training.augment else side,
        strict=strict,
        description="reading for the assistant",
    )
    taught = answers[seen.indices]
    own = make_callbacks(
        RunContext("assist", "", settings, workdir.path, chosen.assistant_steps, True, workdir.figures)
    )
    assistant = Assistant(assistant_network(settings, chosen.assistant_dim))
    assistant.learn(
        seen.pixels,
        taught,
        steps=chosen.assistant_steps,
        learning_rate=chosen.assistant_learning_rate,
        batch_size=settings.training.batch_size,
        augment=settings.training.augment,
        seed=settings.run.small_seed,
        # Its joint space is the student's, its loss always one that ranks there.
        distiller=build_distiller(
            settings.changed(loss="softmax_ranking", loss_options="", hash_bits=0), assistant.network, taught.shape[1]
        ),
        folder=workdir.assistant_checkpoints,
        identity=training_identity(ASSIST.deciding(settings), assistant.network, seen.pixels, taught),
        pauses=settings.training.evaluations,
        callbacks=[*own, CallbackStates(own, workdir.assistant_checkpoints)] if own else [],
        verbose=2,
    )
    embedded = embed_images(
        lambda pixels: answers_of(assistant.network, pixels),
        pool,
        image_size=round(side * SOURCE_MARGIN),
        strict=strict,
        description="the assistant answers",
    )
    return assistant.network, embedded.indices, embedded.embeddings


def _head(settings: Settings, workdir: Workdir, pool: ImageSet) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """As `_whole`, with a head over frozen features."""
    rows, features = pool_features(settings, workdir, pool, of="assistant")
    place = {pool.ids[position]: row for row, position in enumerate(rows)}
    steps = settings.assistant.assistant_steps
    if compares(settings):
        head = _compared(settings, comparisons(settings, workdir), features, place, workdir)
    else:
        positions, answers = answered_vectors(settings, workdir, pool)
        known = [number for number, position in enumerate(positions) if pool.ids[position] in place]
        seen = features[[place[pool.ids[positions[number]]] for number in known]]
        head = fit_vectors(seen, answers[known], steps=steps, seed=settings.run.small_seed)
    network = with_projection(assistant_network(settings, None), head.projection)
    return network, rows, head.embed(features)


def _compared(
    settings: Settings,
    answers: Mapping[str, np.ndarray],
    features: np.ndarray,
    place: dict[str, int],
    workdir: Workdir,
) -> Head:
    steps = settings.assistant.assistant_steps
    if "candidate_ids" in answers:
        queries, candidates = (
            places_of(answers[name], place, workdir.answers) for name in ("query_ids", "candidate_ids")
        )
        return fit_orders(features, queries, candidates, steps=steps)
    queries, first, second = (
        places_of(answers[name], place, workdir.answers) for name in ("query_ids", "first_ids", "second_ids")
    )
    given = Preferences(queries, first, second, answers["probability"])
    settled = settle(given, tie_margin=settings.comparing.pair_tie_margin).preferences
    return fit_preferences(features, settled.queries, settled.first, settled.second, settled.probability, steps=steps)
