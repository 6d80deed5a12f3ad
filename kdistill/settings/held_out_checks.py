"""How many photos are held out to judge by, and what needs them."""

from kdistill.errors import ArgumentError
from kdistill.settings.effects import compares, without_effect
from kdistill.settings.settings import Settings

FEWEST_JUDGES, FEWEST_JUDGES_BY_DEFAULT, MOST_JUDGES = 8, 64, 100
"""Held-out photos: fewer say nothing; the least and the most that are held out unless told otherwise."""


def held_out_count(settings: Settings, gallery: int, labelled: bool) -> int:
    """Returns how many photos of the gallery are held out to judge the student by the teacher's answers.

    Args:
        settings: of the run.
        gallery: its number of images.
        labelled: whether labels can judge; then none is held out unless --judge_queries says so.

    Raises:
        ArgumentError: too few to judge by, or too many for the gallery.
    """
    wanted = settings.asking.judge_queries
    if compares(settings):
        return 0
    if wanted is None:
        most = min(MOST_JUDGES, max(FEWEST_JUDGES_BY_DEFAULT, gallery // 10), gallery // 4)
        return 0 if labelled or most < FEWEST_JUDGES else most
    if 0 < wanted < FEWEST_JUDGES:
        raise ArgumentError(f"--judge_queries={wanted}: fewer than {FEWEST_JUDGES} held-out answers judge nothing")
    if wanted > gallery:
        raise ArgumentError(f"--judge_queries={wanted}, but the gallery has only {gallery} images")
    return wanted


def check_tuning(settings: Settings, held_out: int) -> None:
    """Compares --tune with the number of photos that are held out.

    Raises:
        ArgumentError: there is nothing to judge by.
    """
    if settings.training.tune and "tune" not in without_effect(settings) and not held_out:
        raise ArgumentError(
            f"--tune={settings.training.tune} chooses by held-out answers, and none are held out; give --judge_queries"
        )
