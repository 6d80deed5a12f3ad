"""What the student learns from: the images with an answer, and the answers as targets."""

import numpy as np

from kdistill.data import ImageSet
from kdistill.errors import KdistillError
from kdistill.files.archives import load_arrays
from kdistill.settings import Settings
from kdistill.settings.effects import compares, learns_orders
from kdistill.stages.asking.edited import unchanged_rows
from kdistill.stages.distilling.comparisons import ordered_lists, ranked_pool
from kdistill.stages.workdir import Workdir
from kdistill.teachers.whitening import fit_whitening


def answered(settings: Settings, workdir: Workdir, pool: ImageSet) -> tuple[ImageSet, np.ndarray]:
    """Returns the images to learn from and their targets: vectors [n, Dt], or orders [m, 1 + k].

    Raises:
        ArgumentError: nothing was asked yet.
        KdistillError: answers of another kind, or about an image that is not in the pool.
    """
    file = workdir.needs(workdir.answers, "ask")
    if learns_orders(settings):
        return ordered_lists(settings, workdir, pool)
    if compares(settings):
        images, embeddings = ranked_pool(settings, workdir, pool)
    else:
        names, embeddings, contents = load_arrays(file, ("ids", "embeddings", "contents"))
        positions = {name: index for index, name in enumerate(pool.ids)}
        missing = [name for name in names.tolist() if name not in positions]
        if missing:
            raise KdistillError(f"{file} has an answer for {missing[0]!r}, which is not in the pool")
        images = pool.subset([positions[name] for name in names.tolist()])
        rows = unchanged_rows(images, contents, strict=settings.run.strict)
        images, embeddings = images.subset(rows), embeddings[rows]
        if settings.training.whiten_teacher:
            embeddings = fit_whitening(embeddings).transform(embeddings)
    if settings.student.hash_bits and not compares(settings):
        # Bits are set in half of the images, so cosines of codes spread about 0, and those of the targets shall too.
        embeddings = embeddings - embeddings.mean(axis=0)
    return images, embeddings
