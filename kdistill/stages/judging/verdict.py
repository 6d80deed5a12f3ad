"""Whether a run helped: the student against the same network before distillation, by what training did not see."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kdistill.evaluation.held_out import HeldOutAgreement, gain_interval

_LEVELS = {"map": "mAP", "map_easy": "mAP easy", "map_medium": "mAP medium", "map_hard": "mAP hard"}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is said first about a student.

    Attributes:
        better: whether the student is better than it was before distillation; None where nothing can tell.
        by: "held-out answers", "labels", "both" or "nothing".
        sentence: what was measured, in a sentence.
        gain: in overlap@10 with held-out answers, None without any.
        gain_low, gain_high: its 95 % interval, by bootstrap over the photos.
    """

    better: bool | None
    by: str
    sentence: str
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields, for JSON."""
        return dataclasses.asdict(self)


def verdict_of(
    rows: Sequence[Mapping[str, Any]],
    student: HeldOutAgreement | None,
    untouched: HeldOutAgreement | None,
    seed: int,
) -> Verdict:
    """Compares the rows `student` (`student_asymmetric` where there is one) and `untouched`.

    By held-out answers the student is better where the whole interval of its gain lies above 0. By labels it is where
    no level of mAP is below that of the untouched network. Where there are both, both have to say so.

    Args:
        rows: of the table.
        student: its agreement with held-out answers, or None.
        untouched: that of the network before distillation, on the same photos.
        seed: of the bootstrap.
    """
    named = {row["name"]: row for row in rows}
    # In the teacher's space the student is what searches the teacher's vectors.
    after, before = named.get("student_asymmetric", named["student"]), named["untouched"]
    sayings: list[tuple[bool, str]] = []
    interval: tuple[float, ...] = ()
    if student is not None and untouched is not None:
        interval = gain_interval(student, untouched, seed)
        sayings.append((interval[1] > 0, _by_answers(student, untouched, interval)))
    levels = [name for name in _LEVELS if name in after]
    if levels:
        worse = [name for name in levels if after[name] < before[name]]
        shown = ", ".join(f"{_LEVELS[name]} {after[name]:.3f} against {before[name]:.3f}" for name in worse or levels)
        sayings.append((not worse, f"by labels {shown}"))
    if not sayings:
        return Verdict(None, "nothing", "Nothing judges this student: there are neither labels nor held-out answers.")
    better = all(good for good, _ in sayings)
    start = "The student is better than" if better else "NOT BETTER: the student is not better than"
    said = "; ".join(words for _, words in sorted(sayings, key=lambda saying: saying[0]))
    by = "both" if len(sayings) == 2 else "held-out answers" if interval else "labels"
    return Verdict(better, by, f"{start} the same network before distillation: {said}.", *interval)


def _by_answers(student: HeldOutAgreement, untouched: HeldOutAgreement, interval: tuple[float, ...]) -> str:
    gain, low, high = interval
    return (
        f"overlap@{student.depth} with the teacher {student.overlap.mean():.3f} against {untouched.overlap.mean():.3f} "
        f"on {len(student.overlap)} held-out photos (gain {gain:+.3f}, 95 % interval {low:+.3f} to {high:+.3f})"
    )
