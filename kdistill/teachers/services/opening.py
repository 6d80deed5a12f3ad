"""From an address and a form to a teacher that can be asked."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kdistill.errors import ArgumentError
from kdistill.runtimes.image_model import Choice, ImageInput
from kdistill.teachers.services.choices import OrderService, PreferenceService
from kdistill.teachers.services.comparisons import HttpTeacher
from kdistill.teachers.services.forms.form import AUTO, OWN, read_form
from kdistill.teachers.services.kserve import KserveTeacher
from kdistill.teachers.services.pixels import Pixels, open_side
from kdistill.teachers.services.service import check_model
from kdistill.teachers.services.transport.client import RETRIES
from kdistill.teachers.services.vectors import VectorService


def open_service(
    url: str,
    *,
    api: str = AUTO,
    model: str | None = None,
    scaling: str = "auto",
    output: str | None = None,
    pooling: str = "auto",
    image_size: int | None = None,
    headers: Sequence[str] = (),
    timeout: float = 60.0,
    retries: int = RETRIES,
    requests_per_minute: float | None = None,
    sleep: Callable[[float], None] | None = None,
) -> Any:
    """Opens a teacher behind HTTP: one that embeds, ranks, or prefers, as its form says.

    Args:
        url: http(s) address.
        api: a shipped form's name, the path of a form's JSON file, or "auto": KServe v2 at an address that ends in
            /v2/models/NAME, else the library's own form.
        model: the model's name, where the form has a place for it.
        scaling, image_size: how photos are shown, and their side, where the form takes pixels.
        output, pooling: of answers with several outputs, tokens or maps.
        headers, timeout, retries, requests_per_minute, sleep: see `Service`.

    Raises:
        ArgumentError: an unknown form, or something that the form cannot take.
        KdistillError: a form's file that cannot be read, or a KServe model that cannot be used.
        NotAsked: a KServe server that does not tell of its model.
    """
    form = read_form(api, url)
    shared: dict[str, Any] = {
        "headers": headers,
        "timeout": timeout,
        "retries": retries,
        "requests_per_minute": requests_per_minute,
        "sleep": sleep,
    }
    if form.name == OWN:
        check_model(form, model)
        return HttpTeacher(url, **shared)
    if form.asks != "vectors":
        return (OrderService if form.asks == "order" else PreferenceService)(url, form, model=model, **shared)
    chosen: dict[str, Any] = {"output": output, "pooling": pooling}
    if form.reads_server:
        check_model(form, model)
        return KserveTeacher(url, form, scaling=scaling, image_size=image_size, **chosen, **shared)
    Choice(output, pooling)
    label = f"the teacher {url.partition('?')[0]}"
    shows = None
    if form.takes_pixels:
        source = ImageInput(open_side(image_size, scaling, label), np.dtype(np.float32))
        if scaling == AUTO:
            raise ArgumentError(
                f"{label} does not tell on which scale it takes pixels; name it with --teacher_scaling (none, unit, "
                "symmetric, torch, clip, or a JSON file)"
            )
        shows = Pixels(source, scaling, label)
    return VectorService(url, form, model=model, shows=shows, **chosen, **shared)
