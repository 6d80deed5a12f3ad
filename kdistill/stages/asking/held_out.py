"""The photos that judge: held out of the gallery, asked about in an account of their own, never learned from."""

from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from kdistill.data import ImageSet, RetrievalData
from kdistill.data.identity import UNREADABLE, identities
from kdistill.errors import KdistillError
from kdistill.files.archives import load_arrays
from kdistill.files.whole import write_arrays
from kdistill.settings import Settings
from kdistill.settings.held_out_checks import FEWEST_JUDGES, held_out_count
from kdistill.stages.opening.inputs import identity_cache
from kdistill.stages.workdir import Workdir
from kdistill.teachers import Ledger, Plan, Teacher, ask, plan
from kdistill.teachers.choosing.planning import question_contents
from kdistill.teachers.ledger.records import JUDGING, LEARNING

_STREAM = 0x6A756467
"""Sets the choice of these photos apart from all others that the seed decides."""


def choose_held_out(settings: Settings, data: RetrievalData, ledger: Ledger | None) -> np.ndarray:
    """Returns int64 [n], distinct positions in the gallery of distinct content, ascending.

    They are drawn by the seed alone, so that a larger number holds the smaller one. Photos that were asked about for
    judging before come first, and those asked about for learning last: no answer that was paid for is wasted.
    """
    count = held_out_count(settings, len(data.gallery), data.labelled)
    if not count:
        return np.zeros(0, np.int64)
    order = np.random.default_rng([settings.run.small_seed, _STREAM]).permutation(len(data.gallery))
    judged, learned = (
        (set[str](), set[str]()) if ledger is None else (ledger.contents(JUDGING), ledger.contents(LEARNING))
    )
    looked_at = order if judged or learned else order[: 2 * count]
    contents, _ = question_contents(data.gallery, looked_at, strict=settings.run.strict)
    rank = sorted(
        contents, key=lambda position: (contents[position] not in judged) + 2 * (contents[position] in learned)
    )
    distinct = {contents[position]: position for position in reversed(rank)}
    chosen = [position for position in rank if distinct[contents[position]] == position][:count]
    again = sum(contents[position] in learned for position in chosen)
    if again:
        logging.warning(
            "%d photos that were asked about for learning before are held out now; the student learns from the others",
            again,
        )
    return np.sort(np.asarray(chosen, np.int64))


def ask_held_out(
    teacher: Teacher, data: RetrievalData, chosen: np.ndarray, settings: Settings, workdir: Workdir
) -> dict[str, Any]:
    """Asks about the photos that judge and writes `judging.npz` (`ids`, `digests`, `embeddings`); returns figures.

    They are those of `choose_held_out`; nothing is asked or written where none are.

    Raises:
        KdistillError: the teacher fails, or answers about too few to judge by.
    """
    if not len(chosen):
        if not data.labelled:
            logging.warning("nothing judges this student: there are neither labels nor held-out answers")
        return {}
    with Ledger(settings.asking.ledger or workdir.ledger) as ledger:
        photos = data.gallery.subset(chosen).without_labels()
        answers = ask(
            teacher,
            photos,
            range(len(photos)),
            ledger,
            budget=None,
            batch_size=settings.asking.ask_batch_size,
            strict=settings.run.strict,
            price_per_query=settings.asking.price_per_query,
            account=JUDGING,
            concurrency=settings.asking.concurrency,
        )
        paid = ledger.summary().account(JUDGING)
    for name, reason in answers.skipped:
        logging.warning("skipped %s: %s", name, reason)
    if len(answers.indices) < FEWEST_JUDGES:
        raise KdistillError(
            f"of {len(photos)} photos that are held out for judging only {len(answers.indices)} have an answer; "
            "--judge_queries=0 goes on without"
        )
    order = np.argsort(answers.indices)
    photos = photos.subset(answers.indices[order])
    digests = identities(photos, identity_cache(workdir.path))
    write_arrays(
        workdir.judging,
        ids=np.array(photos.ids),
        digests=np.array([digests[name] for name in photos.ids]),
        embeddings=answers.embeddings[order],
    )
    logging.info(
        "%d photos of the gallery are held out for judging; %d were asked about now", len(photos), answers.spent
    )
    return {"judge_queries": paid.spent, "judge_cost": paid.cost, "held_out": len(photos)}


def plan_held_out(
    teacher: Teacher, data: RetrievalData, settings: Settings, ledger: Ledger | None
) -> tuple[np.ndarray, Plan | None]:
    """Returns which photos would be held out (positions in the gallery), and what asking about them would cost."""
    chosen = choose_held_out(settings, data, ledger)
    if not len(chosen):
        return chosen, None
    price = settings.asking.price_per_query
    return chosen, plan(teacher, data.gallery, chosen, ledger, budget=None, price_per_query=price, account=JUDGING)


def held_out_answers(workdir: Workdir) -> tuple[list[str], np.ndarray] | None:
    """Returns ids of the photos that judge and the teacher's answers float32 [n, Dt]; None where none are held out."""
    if not workdir.judging.is_file():
        return None
    ids, embeddings = load_arrays(workdir.judging, ("ids", "embeddings"))
    return ids.tolist(), embeddings


def named(images: ImageSet, ids: list[str]) -> ImageSet:
    """Returns the images of these ids, in that order.

    Raises:
        KdistillError: one is gone.
    """
    place = {name: position for position, name in enumerate(images.ids)}
    gone = next((name for name in ids if name not in place), None)
    if gone is not None:
        raise KdistillError(
            f"{gone!r}, which is held out for judging, is no longer in the gallery; run the stage 'ask'"
        )
    return images.subset([place[name] for name in ids])


def learning_pool(settings: Settings, workdir: Workdir, data: RetrievalData) -> ImageSet:
    """Returns the pool without the photos that judge, as the stage `ask` left them: what training may see."""
    if not workdir.judging.is_file():
        return data.pool
    ids, digests = load_arrays(workdir.judging, ("ids", "digests"))
    names = set(ids.tolist()) if data.pool_is_gallery else set[str]()
    return without(data.pool, names, set(digests.tolist()), identity_cache(workdir.path))


def pool_beside(data: RetrievalData, held_out: np.ndarray, cache: Path | None) -> ImageSet:
    """Returns the pool without some photos of the gallery (positions int [n]), whatever they are called there."""
    if not len(held_out):
        return data.pool
    photos = data.gallery.subset(held_out)
    names = set(photos.ids) if data.pool_is_gallery else set[str]()
    return without(data.pool, names, set(identities(photos, cache).values()), cache)


def without(pool: ImageSet, names: set[str], digests: set[str], cache: Path | None) -> ImageSet:
    """Returns the images of other names and of other content than these."""
    found = identities(pool, cache)
    hidden = digests - {UNREADABLE}
    kept = [place for place, name in enumerate(pool.ids) if name not in names and found[name] not in hidden]
    return pool if len(kept) == len(pool) else pool.subset(kept)
