"""Which settings of a service have no effect beside the form in which it is asked."""

from collections.abc import Iterator

from kdistill.errors import KdistillError
from kdistill.settings.settings import Settings


def of_service(settings: Settings) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yields what `kdistill.settings.effects` takes as rules."""
    # Only here, so that settings of other teachers load fast.
    from kdistill.teachers.services.forms.form import OWN, read_form

    try:
        form = read_form(settings.teacher.teacher_api, settings.teacher.teacher)
    except KdistillError:
        return  # the checks tell what is wrong with it
    why = f"with --teacher_api={settings.teacher.teacher_api}"
    if not form.takes_pixels:
        yield ("teacher_scaling", "teacher_image_size"), "teacher_api", f"{why}, which sends files of photos"
    if form.name == OWN or form.asks != "vectors":
        yield ("teacher_output", "teacher_pooling"), "teacher_api", ""
    if "model" not in form.names:
        yield ("teacher_model",), "teacher_api", f"{why}, which sends no name of a model"
