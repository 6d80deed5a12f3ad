"""Checks of the settings of the space that the student embeds into."""

from pathlib import Path

from kdistill.errors import ArgumentError
from kdistill.facts.losses import LOSSES
from kdistill.settings.effects import compares, in_teacher_space
from kdistill.settings.settings import Settings

TABLES = (".npz", ".npy", ".parquet")


def check_space(settings: Settings) -> None:
    table = settings.space.gallery_vectors
    if table is not None:
        if not table.endswith(TABLES):
            raise ArgumentError(f"--gallery_vectors={table} is no table of vectors: it ends in {', '.join(TABLES)}")
        if not Path(table).is_file():
            raise ArgumentError(f"--gallery_vectors={table} does not exist")
        if compares(settings):
            raise ArgumentError(
                f"--gallery_vectors={table} holds vectors, and with --teacher_answers="
                f"{settings.teacher.teacher_answers} the teacher gives none"
            )
    if in_teacher_space(settings):
        _check_student(settings)


def _check_student(settings: Settings) -> None:
    """Refuses what has no meaning where the student's vectors are compared with the teacher's."""
    where = "--space=teacher"
    training, loss = settings.training, LOSSES.get(settings.training.loss)
    if compares(settings):
        raise ArgumentError(f"{where} needs the teacher's vectors; --teacher_answers=vectors gives them")
    if settings.student.hash_bits:
        raise ArgumentError(f"{where} searches the teacher's vectors, and --hash_bits makes codes; leave out one")
    if training.whiten_teacher:
        raise ArgumentError(f"{where} searches the teacher's vectors as they are; leave out --whiten_teacher")
    if settings.evaluation.whiten != "none":
        raise ArgumentError(
            f"--whiten={settings.evaluation.whiten} changes the student's vectors, which with {where} stand beside the "
            "teacher's; leave out one"
        )
    for name in ("target_flops", "target_params"):
        if settings.value(name):
            raise ArgumentError(f"a student that shrinks has a space of its own; leave out --{name} or {where}")
    if training.tune:
        raise ArgumentError(f"--tune={training.tune} judges students by their own space; leave out --tune or {where}")
    if loss is None or not (loss.joint or loss.needs_equal_dims):
        fitting = ", ".join(name for name, facts in LOSSES.items() if facts.joint or facts.needs_equal_dims)
        raise ArgumentError(
            f"--loss={training.loss} compares the student's vectors with each other alone, which brings none to where "
            f"the teacher's are; with {where} choose one of {fitting}"
        )
