"""The rows of a student in the teacher's space: its queries in the teacher's gallery, and what they are held to."""

from collections.abc import Sequence

import keras
import numpy as np
from absl import logging

from kdistill import students
from kdistill.data import ImageSet
from kdistill.evaluation import embed_images
from kdistill.evaluation.held_out import HeldOutAgreement
from kdistill.files.archives import load_arrays
from kdistill.files.whole import write_arrays
from kdistill.settings import Settings
from kdistill.stages.asking.known_before import gallery_table
from kdistill.stages.judging.held_out import HeldOutJudge
from kdistill.stages.judging.judge import Judge, Vectors
from kdistill.stages.judging.table import Table
from kdistill.stages.opening.models import student_before
from kdistill.stages.space import TeacherSpace, in_space
from kdistill.stages.workdir import Workdir


class Across:
    """One evaluation of a student in the teacher's space.

    Attributes:
        gallery: float32 [G, D], the teacher's vectors of the run's gallery in the space; None where one is not known.
    """

    def __init__(
        self,
        settings: Settings,
        space: TeacherSpace,
        judge: Judge,
        held_out: HeldOutJudge | None,
        teacher: Vectors | None,
        student: Vectors,
    ) -> None:
        """Takes the space, who judges, the teacher's vectors where it has a row, and the student's own."""
        self._settings, self._space, self._judge, self._held_out = settings, space, judge, held_out
        self._student, self._teacher = student, teacher
        self.gallery = self._known_gallery()
        if self.gallery is None:
            logging.warning(
                "the teacher's vectors of the gallery are not all known (--score_teacher=yes asks for them, "
                "--gallery_vectors names a table): by held-out answers alone the student is judged in its gallery, and "
                "what is exported searches the student's own vectors"
            )

    @property
    def whose(self) -> str:
        """Whose vectors are searched in what is handed on: "teacher" or "student"."""
        return "student" if self.gallery is None else "teacher"

    @property
    def searching(self) -> Vectors:
        """The student's queries in the teacher's gallery, which is known."""
        assert self.gallery is not None
        queries = self._student.gallery if self._student.queries is None else self._student.queries
        return Vectors(self.gallery, queries)

    def add_rows(self, table: Table, student: keras.Model) -> HeldOutAgreement | None:
        """Adds `student_asymmetric`, the controls, and the teacher's row in what the projection keeps.

        Returns the agreement of the student's queries with held-out answers, where there are any.
        """
        projection, teacher = self._space.projection, self._teacher
        dimension = int(projection.axes.shape[1])
        if teacher is not None and not projection.whole:
            queries = None if teacher.queries is None else projection.transform(teacher.queries)
            kept = Vectors(projection.transform(teacher.gallery), queries)
            table.add("teacher_projected", kept, None, queries=None)
        agreement = self._by_answers(self._student.gallery)
        known = self.gallery is not None
        parameters = student.count_params()
        searching = self.searching if known else None
        if known or agreement is not None:
            table.add_across("student_asymmetric", searching, parameters, dimension, agreement)
        self._add_teacher_queries(table, dimension)
        chance = student_before(in_space(self._settings, self._space))
        random = self._judge.embed(lambda images, role: _embed(chance, images, f"random head, {role}"))
        if known or agreement is not None:
            asking = random.gallery if random.queries is None else random.queries
            vectors = Vectors(self.gallery, asking) if self.gallery is not None else None
            held = self._by_answers(random.gallery)
            table.add_across("random_head", vectors, chance.count_params(), dimension, held, queries=0)
        return agreement

    def _add_teacher_queries(self, table: Table, dimension: int) -> None:
        """Adds the teacher's queries in the student's gallery, which says how well the two spaces are one."""
        teacher, projection = self._teacher, self._space.projection
        asking = None
        if teacher is not None:
            asking = projection.transform(teacher.gallery if teacher.queries is None else teacher.queries)
        held = None
        if self._held_out is not None:
            answers = projection.transform(self._held_out.answers)
            held = self._held_out.across(self._student.gallery[self._held_out.positions], answers)
        if asking is not None or held is not None:
            vectors = None if asking is None else Vectors(self._student.gallery, asking)
            table.add_across("teacher_queries", vectors, None, dimension, held)

    def _by_answers(self, queries: np.ndarray) -> HeldOutAgreement | None:
        """Returns how vectors of the gallery's images [G, D], as queries, find held-out answers; None without any."""
        if self._held_out is None:
            return None
        answers = self._space.projection.transform(self._held_out.answers)
        return self._held_out.across(answers, queries[self._held_out.positions])

    def _known_gallery(self) -> np.ndarray | None:
        if self._teacher is not None:
            return self._space.projection.transform(self._teacher.gallery)
        table = gallery_table(self._settings, int(self._space.projection.axes.shape[0]))
        if table is None:
            return None
        rows = table.rows_of(self._judge.data.gallery.ids)
        missing = int((rows < 0).sum())
        if missing:
            logging.warning("%s has no row for %d of the gallery's %d images", table.path, missing, len(rows))
            return None
        return self._space.projection.transform(np.asarray(table.vectors[rows], np.float32))


def write_gallery(workdir: Workdir, ids: Sequence[str], embeddings: np.ndarray, across: Across | None) -> None:
    """Writes `gallery.npz`: what is searched, and, of a student in the teacher's space, `searched`, whose vectors."""
    whose = {} if across is None else {"searched": np.array(across.whose)}
    write_arrays(workdir.gallery, ids=np.array(ids), embeddings=embeddings, **whose)


def teachers_gallery(settings: Settings, workdir: Workdir) -> tuple[list[str], np.ndarray] | None:
    """Returns ids and vectors float32 [G, D] of `gallery.npz` where they are the teacher's; None where the student's.

    Raises:
        ArgumentError: the stage `evaluate` was not run.
    """
    if settings.space.space != "teacher":
        return None
    ids, rows, whose = load_arrays(workdir.needs(workdir.gallery, "evaluate"), ("ids", "embeddings", "searched"))
    return (ids.tolist(), rows) if str(whose) == "teacher" else None


def _embed(model: keras.Model, images: ImageSet, description: str) -> np.ndarray:
    size = students.image_size(model)
    return embed_images(model, images, image_size=size, strict=True, description=description).embeddings
