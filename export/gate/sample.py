"""The images that files are compared on with the student: one seeded random sample of a run's own search.

Figures are compared only within the sample. A gallery is easier to search the smaller it is, so the mAP of a file on
3,000 images says nothing beside a row of the evaluation; beside the student's on the same images it does.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from export.gate.verify import Judge
from kdistill.data import Image, ImageSet, RetrievalData
from kdistill.errors import KdistillError
from kdistill.stages.judging.judge import Judge as RunJudge
from kdistill.stages.judging.judge import Vectors
from kdistill.stages.opening.models import read_images

MAX_IMAGES = 3000
"""Images, queries included, that every file is run on; more would change no difference by much and take minutes."""
_QUERY_SHARE, _POSITIVE_SHARE = 1 / 4, 3 / 4
"""Of MAX_IMAGES, what queries may take, and what queries may take with their positives; the rest are other images."""


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """What files are run on.

    Attributes:
        data: the sampled images that can be read.
        pixels: uint8 [n, S, S, 3], those of the queries first, then those of the gallery.
        judge: from embeddings float32 [n, D] to mAP, 0 to 1; None where no label judges.
        searched: float32 [g, D], what a student in the teacher's space searches, row by row of the gallery's images,
            which are the last g; None where it searches its own embeddings of them.
        facts: for the card: `images`, `queries`, `gallery`, `whole_gallery`, `seed`.
    """

    data: RetrievalData
    pixels: np.ndarray
    judge: Judge | None
    searched: np.ndarray | None
    facts: dict[str, Any]


def read_sample(
    data: RetrievalData,
    size: int,
    *,
    seed: int,
    strict: bool,
    max_memory_mb: int,
    limit: int = MAX_IMAGES,
    gallery: tuple[list[str], np.ndarray] | None = None,
) -> Sample:
    """Draws the run's sample (by its seed) and reads it; the same run always gets the same one.

    Args:
        data: of the run.
        size: S.
        seed: of the run.
        strict: raise on the first unreadable image instead of skipping it.
        max_memory_mb: MiB that scoring may take.
        limit: images at most, queries included.
        gallery: ids and the teacher's vectors float32 [G, D] that are searched, of a student in the teacher's space.

    Raises:
        KdistillError: a sampled image of the gallery has no vector there.
        UnreadableImage: not one image can be read, or one cannot under `strict`.
    """
    chosen = draw(data, limit, seed)
    searching = 0 if chosen.queries is None else len(chosen.queries)
    loaded = read_images(_together(chosen), size, strict=strict, description="reading for the checks")
    split = int(np.searchsorted(loaded.indices, searching))
    queries = None if chosen.queries is None else loaded.indices[:split]
    readable = chosen.restricted_to(loaded.indices[split:] - searching, queries)
    rules = RunJudge(readable, max_memory_mb)

    searched = None if gallery is None else _rows_of(readable.gallery.ids, *gallery)

    def score(embeddings: np.ndarray) -> float:
        if searched is not None:
            return float(rules.scores(Vectors(searched, embeddings[:split] if split else embeddings)).map)
        found = None if queries is None else embeddings[:split]
        return float(rules.scores(Vectors(embeddings[split:], found)).map)

    facts: dict[str, Any] = {
        "images": len(loaded.pixels),
        "queries": None if queries is None else split,
        "gallery": len(readable.gallery),
        "whole_gallery": len(data.gallery),
        "seed": seed,
    }
    if searched is not None:
        facts["searched"] = "teacher"
    return Sample(readable, loaded.pixels, score if readable.labelled else None, searched, facts)


def _rows_of(images: Sequence[str], ids: list[str], vectors: np.ndarray) -> np.ndarray:
    """Returns the vectors of these images."""
    row = {name: number for number, name in enumerate(ids)}
    missing = next((name for name in images if name not in row), None)
    if missing is not None:
        raise KdistillError(f"gallery.npz holds no vector of {missing!r}; run the stage evaluate again")
    return np.asarray(vectors[[row[name] for name in images]], np.float32)


def described(facts: Mapping[str, Any]) -> str:
    """Returns a sentence that says what the figures of files are of."""
    gallery = f"{facts['gallery']:,} of the gallery's {facts['whole_gallery']:,} images"
    searching = "each searching the others" if facts["queries"] is None else f"searched by {facts['queries']:,} queries"
    vectors = "; the gallery's vectors are the teacher's" if facts.get("searched") == "teacher" else ""
    return f"files and student were compared on {gallery}, {searching}, drawn with seed {facts['seed']}{vectors}"


def draw(data: RetrievalData, limit: int, seed: int) -> RetrievalData:
    """Returns a random part of what is searched and what searches, of `limit` images at most.

    Without labels they are drawn at random, queries at most QUERY_SHARE of them. With labels but without queries each
    image that is drawn brings one of its class, so that there is something to find. With queries,
    every query that is drawn keeps its positives (revisited: easy, hard and junk), and a random part of the other
    images fills up the rest. Only where not one query fits with all of its positives, some of these are left out.
    """
    searching = 0 if data.queries is None else len(data.queries)
    if len(data.gallery) + searching <= limit:
        return data
    rng = np.random.default_rng(seed)
    if data.queries is None:
        order = rng.permutation(len(data.gallery))
        labels = data.gallery.labels if data.labelled else None
        return data.restricted_to(_in_pairs(order, labels, limit), None)
    if not data.labelled:
        most = max(1, int(_QUERY_SHARE * limit))
        asking = np.sort(rng.permutation(searching)[:most])
        return data.restricted_to(np.sort(rng.permutation(len(data.gallery))[: limit - len(asking)]), asking)
    queries, kept = _with_positives(data, rng.permutation(searching), limit)
    left = rng.permutation(np.flatnonzero(~kept))
    others = left[: max(0, limit - len(queries) - int(kept.sum()))]
    gallery = np.sort(np.concatenate([np.flatnonzero(kept), others]))
    return data.restricted_to(gallery, np.sort(queries))


def _in_pairs(order: np.ndarray, labels: np.ndarray | None, limit: int) -> np.ndarray:
    """Returns ascending positions: images in a random order, each with the next one of its class in that order."""
    if labels is None:
        return np.sort(order[:limit])
    by_class = order[np.argsort(labels[order], kind="stable")]
    following = np.roll(by_class, -1)
    partner = np.empty(len(order), np.int64)
    partner[by_class] = np.where(labels[following] == labels[by_class], following, by_class)
    both = np.stack([order, partner[order]], axis=1).ravel()
    _, first = np.unique(both, return_index=True)
    return np.sort(both[np.sort(first)[:limit]])


def _with_positives(data: RetrievalData, order: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns queries int64 [q] and bool [G], which of the gallery's images they need."""
    positives = _Positives(data)
    kept = np.zeros(len(data.gallery), bool)
    chosen: list[int] = []
    used = 0
    settled: set[int] = set()
    refused: set[int] = set()
    for query in order:
        if len(chosen) >= max(1, int(_QUERY_SHARE * limit)):
            break
        # Queries of one class need the same images, which are looked at once.
        group = positives.group(int(query))
        if group in refused:
            continue
        needed = np.empty(0, np.int64) if group in settled else positives.of(int(query))
        new = needed[~kept[needed]]
        if used + 1 + len(new) > _POSITIVE_SHARE * limit:
            refused.add(group)
            continue
        kept[new] = True
        settled.add(group)
        chosen.append(int(query))
        used += 1 + len(new)
    if not chosen:
        fewest = int(min(order, key=lambda query: len(positives.of(int(query)))))
        needed = positives.of(fewest)
        kept[needed[: max(1, limit - 1)]] = True
        chosen = [fewest]
    return np.asarray(chosen, np.int64), kept


class _Positives:
    """The gallery images that a query cannot do without."""

    def __init__(self, data: RetrievalData) -> None:
        self._truth = data.truth
        if self._truth is None:
            assert data.queries is not None
            self._labels = np.asarray(data.queries.labels)
            gallery = np.asarray(data.gallery.labels)
            self._order = np.argsort(gallery, kind="stable")
            self._sorted = gallery[self._order]

    def group(self, query: int) -> int:
        """Returns a number that queries of the same positives share."""
        return query if self._truth is not None else int(self._labels[query])

    def of(self, query: int) -> np.ndarray:
        """Returns their positions, int64 [p]."""
        if self._truth is not None:
            return self._truth.labelled(query)
        label = self._labels[query]
        first, stop = (np.searchsorted(self._sorted, label, side=side) for side in ("left", "right"))
        return self._order[first:stop]


def _together(data: RetrievalData) -> ImageSet:
    """Returns queries and gallery as one set, so that all pixels are read into one array."""
    if data.queries is None:
        return data.gallery
    roles: list[tuple[str, ImageSet]] = [("query", data.queries), ("gallery", data.gallery)]
    images: list[Image] = []
    for role, one in roles:
        # The same photo may stand in both under one name.
        images += [dataclasses.replace(image, id=f"{role}: {image.id}") for image in one]
    return ImageSet(images)
