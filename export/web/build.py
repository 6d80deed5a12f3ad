"""Builds the search page of a finished run."""

from pathlib import Path

import numpy as np

from export.web.pictures import rows_of
from export.web.site import write_site
from kdistill.errors import KdistillError
from kdistill.stages.entries import check_read, settings_of
from kdistill.stages.judging.evaluate import load_student
from kdistill.stages.opening.sources import data_of
from kdistill.stages.workdir import Workdir


def build_site(run_dir: str | Path, out_dir: str | Path, *, data_dir: str | None = None, title: str = "") -> None:
    """Builds the page of a finished run.

    Args:
        run_dir: the run's work folder; its stages up to `evaluate` are done.
        out_dir: where the site goes; a site that is there is replaced when the new one is whole.
        data_dir: where the run's images are, if they have moved.
        title: heading of the page; empty for the data set's name.

    Raises:
        ArgumentError: the run lacks a stage, or `out_dir` holds something else than a site.
        KdistillError: see `write_site`.
    """
    workdir = Workdir(run_dir, create=False)
    with np.load(workdir.needs(workdir.gallery, "evaluate"), allow_pickle=False) as stored:
        ids, embeddings = stored["ids"].tolist(), stored["embeddings"]
    check_read(workdir.path, "evaluate", "student.keras")
    settings = settings_of(run_dir)
    if data_dir:
        settings = settings.changed(data_dir=data_dir)
    data = data_of(settings)
    positions = rows_of(data.gallery.ids, ids)
    missing = [name for name, position in zip(ids, positions, strict=True) if position is None]
    if missing:
        raise KdistillError(f"image {missing[0]!r} of the run's gallery is not in its data; was --data_dir changed?")
    write_site(
        out_dir,
        student=load_student(workdir, settings),
        gallery=data.gallery.subset([position for position in positions if position is not None]),
        embeddings=embeddings,
        queries=data.queries,
        title=title or f"Search in {data.name}",
    )
