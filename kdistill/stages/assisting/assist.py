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
from kdistill.assistant.heads import Head, fit_orders, fit_preferences, fit_vectors
from kdistill.assistant.network import with_projection
from kdistill.data import ImageSet
from kdistill.data.disk.photos import LOOKED_AT
from kdistill.data.identity import digest_of, identities
from kdistill.evaluation import embed_images
from kdistill.facts.students import is_known
from kdistill.files.archives import map_arrays
from kdistill.files.mapped import take_rows
from kdistill.files.whole import whole_file, write_arrays
from kdistill.preferences.consistency import settle
from kdistill.preferences.pairs import Preferences
from kdistill.settings import Settings
from kdistill.settings.effects import compares, is_compared, trains_whole
from kdistill.space.ridge import fit_ridge
from kdistill.stages.asking.answers import answered_vectors, comparisons, places_of
from kdistill.stages.asking.held_out import learning_pool
from kdistill.stages.asking.pool_features import assistant_network, pool_features
from kdistill.stages.callbacks import RunContext, make_callbacks
from kdistill.stages.distilling.trainer import build_distiller, loss_of
from kdistill.stages.library import ASSIST
from kdistill.stages.opening.embedding import write_embeddings
from kdistill.stages.opening.identity import digest_of_rows, training_identity
from kdistill.stages.opening.inputs import identity_cache
from kdistill.stages.opening.models import SOURCE_MARGIN, student_before
from kdistill.stages.opening.photos import open_photos, reading
from kdistill.stages.opening.sources import data_of
from kdistill.stages.space import read_space
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
    pool = learning_pool(settings, workdir, data_of(settings))
    figures: dict[str, Any] = {}
    if is_compared(settings):
        why_not = _why_not(settings, workdir, pool, figures)
        if why_not:
            logging.warning("the run goes on without an assistant: %s", why_not)
            write_arrays(workdir.assistant_answers, ids=np.array([], "U1"), embeddings=np.zeros((0, 0), np.float32))
            return Result({"assistant": {**figures, "used": False, "why": why_not}}, [workdir.assistant_answers])
    network = (_whole if trains_whole(settings) else _head)(settings, workdir, pool)
    (ids,) = map_arrays(workdir.assistant_answers, ("ids",))
    figures |= {"used": True, "parameters": network.count_params(), "answers": len(ids), "further_questions": 0}
    logging.info("the assistant, %s parameters, answers for %s images at no question",
                 f"{network.count_params():,}", f"{len(ids):,}")  # fmt: skip
    return Result({"assistant": figures}, [workdir.assistant, workdir.assistant_answers])


def _why_not(settings: Settings, workdir: Workdir, pool: ImageSet, figures: dict[str, Any]) -> str:
    """Returns in half a sentence why nothing speaks for an assistant, or nothing; fills in what was measured."""
    assistant = settings.assistant
    if is_known(str(assistant.assistant_backbone)) and not assistant.assistant_weights:
        return "it has no pretrained weights, and from a random start a larger network learns no more from few answers"
    positions, answers = answered_vectors(settings, workdir, pool)
    if len(pool) < _WORTH_IT * len(positions):
        return f"of {len(pool)} images {len(positions)} were asked about, so hardly one is left to answer for"
    asked = pool.subset(positions.tolist())
    student = students.pooled_features(student_before(settings))
    network = students.pooled_features(assistant_network(settings, assistant.assistant_dim))
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


def _whole(settings: Settings, workdir: Workdir, pool: ImageSet) -> keras.Model:
    """Returns the trained network, after it and its answers are written."""
    positions, answers = answered_vectors(settings, workdir, pool)
    chosen, space = settings.assistant, read_space(settings, workdir)
    dimension = chosen.assistant_dim
    if space is not None:
        answers = space.projection.transform(answers)
        dimension = answers.shape[1]
    side = chosen.assistant_image_size
    photos = open_photos(
        settings,
        workdir,
        pool.subset(positions.tolist()),
        round(side * SOURCE_MARGIN) if settings.training.augment else side,
        used=chosen.assistant_steps * settings.training.batch_size,
    )
    own = make_callbacks(
        RunContext("assist", "", settings, workdir.path, chosen.assistant_steps, True, workdir.figures)
    )
    with reading(photos):
        if len(photos) <= LOOKED_AT:
            # The unreadable are left out; of more photos others take their places when it comes to them.
            look = photos.look(np.arange(len(photos)), photos.size, "reading for the assistant")
            look.finish()
            photos, answers = photos.subset(look.rows), answers[look.rows]
        precision = settings.training.training_precision
        assistant = Assistant(students.in_precision(assistant_network(settings, dimension), precision))
        identity = training_identity(ASSIST.deciding(settings), assistant.network, photos.digest, answers)
        # Its joint space is the student's, its loss always one that ranks there.
        ranking = settings.changed(loss="softmax_ranking", loss_options="", hash_bits=0)
        if space is not None:
            identity["known"] = digest_of_rows(space.known)
        assistant.learn(
            photos,
            answers,
            steps=chosen.assistant_steps,
            learning_rate=chosen.assistant_learning_rate,
            batch_size=settings.training.batch_size,
            augment=settings.training.augment,
            seed=settings.run.small_seed,
            distiller=build_distiller(ranking, assistant.network, answers.shape[1]),
            loss=loss_of(ranking, known=None if space is None else space.known),
            own_space=space is not None,
            folder=workdir.assistant_checkpoints,
            identity=identity,
            pauses=settings.training.evaluations,
            callbacks=[*own, CallbackStates(own, workdir.assistant_checkpoints)] if own else [],
            verbose=2,
        )
    network = assistant.network if precision == "float32" else students.in_float32(assistant.network)
    _write(network, workdir)
    logging.info("the assistant answers")
    write_embeddings(
        settings,
        workdir.assistant_answers,
        network,
        pool,
        name="embeddings",
        identity={**identity, "pool": digest_of(identities(pool, identity_cache(workdir.path)))},
        answers=True,
        side=round(side * SOURCE_MARGIN),
    )
    return network


def _write(network: keras.Model, workdir: Workdir) -> None:
    with whole_file(workdir.assistant) as temporary:
        network.save(temporary)


def _head(settings: Settings, workdir: Workdir, pool: ImageSet) -> keras.Model:
    """As `_whole`, with a head over frozen features."""
    rows, features = pool_features(settings, workdir, pool, of="assistant")
    place = {pool.ids[position]: row for row, position in enumerate(rows)}
    if compares(settings):
        head = _compared(settings, comparisons(settings, workdir), features, place, workdir)
    else:
        head = _of_vectors(settings, workdir, pool, features, place)
    network = with_projection(assistant_network(settings, None), head.projection)
    _write(network, workdir)
    write_arrays(workdir.assistant_answers, ids=np.array(pool.ids)[rows], embeddings=head.embed(features))
    return network


def _of_vectors(
    settings: Settings, workdir: Workdir, pool: ImageSet, features: np.ndarray, place: dict[str, int]
) -> Head:
    positions, answers = answered_vectors(settings, workdir, pool)
    known = [number for number, position in enumerate(positions) if pool.ids[position] in place]
    seen = take_rows(features, np.array([place[pool.ids[positions[number]]] for number in known], np.int64))
    space = read_space(settings, workdir)
    if space is not None:
        return Head(fit_ridge(seen, space.projection.transform(answers[known])))
    return fit_vectors(seen, answers[known], steps=settings.assistant.assistant_steps, seed=settings.run.small_seed)


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
