"""What a dry run shows of a service: the first request, shortened and without the key."""

from typing import Any

from kdistill.data import Image, ImageSet, UnreadableImage
from kdistill.teachers import Plan
from kdistill.teachers.compound import CompoundQuestion


def print_first_request(teacher: Any, questions: ImageSet, planned: Plan, batch_size: int, kind: str = "") -> None:
    """Prints what would be sent first; nothing where the teacher is no service, or nothing is to be asked.

    Args:
        teacher: as it was opened.
        questions: in the order in which they would be asked.
        planned: what of them would be asked.
        batch_size: the most of them in one request.
        kind: "orders" or "preferences" of a teacher that compares.
    """
    if not hasattr(teacher, "shown_request"):
        return
    batch: list[Image] = []
    for question in questions:
        if len(batch) == batch_size:
            break
        try:
            if question.content_hash() in planned.asks:
                question.pixels()
                batch.append(question)
        except UnreadableImage:
            continue  # it is skipped when it is asked about
    if not batch:
        return
    first = batch[0]
    try:
        if isinstance(first, CompoundQuestion):
            comparison = getattr(teacher, "shown_comparison", None)
            shown = comparison(first, kind) if comparison else teacher.shown_request(first.images)
        else:
            shown = teacher.shown_request(batch)
    except UnreadableImage as error:
        shown = f"is not shown: {error}"
    print(f"\nthe first request, shortened:\n{shown}")
