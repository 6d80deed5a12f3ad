"""The checks of the gate as a table in the terminal."""

from collections.abc import Sequence
from typing import Any

from export.gate.sample import described
from export.gate.verify import FileCheck


def print_checks(checks: Sequence[FileCheck], facts: dict[str, Any]) -> None:
    """Prints a table of the checks, and which images they are of."""
    print(f"{'file':30s}{'bytes':>12s}{'cosine mean':>13s}{'min':>9s}{'overlap@10':>12s}{'mAP':>8s}{'drop':>8s}")
    for check in checks:
        print(
            f"{check.name:30s}{check.bytes:12,d}{check.cosine_mean:13.5f}{check.cosine_min:9.5f}"
            f"{check.overlap_at_10:12.4f}{_points(check.map, 100)}{_points(check.map_drop)}  "
            f"{'passed' if check.passed else check.reason}"
        )
    if checks:
        quality = checks[0].map_student
        judged = (
            "no label judges" if quality is None else f"the student's mAP on the same images is {100 * quality:.2f}"
        )
        print(f"{judged}; {described(facts)}")


def _points(value: float | None, scale: float = 1.0) -> str:
    return f"{'–':>8}" if value is None else f"{scale * value:8.2f}"
