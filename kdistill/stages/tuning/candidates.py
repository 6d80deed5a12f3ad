"""Which settings are tried."""

import math
from typing import Any

import numpy as np

from kdistill.facts.losses import LOSSES
from kdistill.settings import Settings
from kdistill.settings.effects import has_assistant, starts_trained, without_effect
from kdistill.settings.loss_options import parse_loss_options

_STREAM = 0x74756E65
"""Sets these draws apart from all others that the seed decides."""

LEARNING_RATES, STEPS = (0.5, 1.0, 2.0, 4.0), (0.5, 1.0, 2.0)
"""Multiples of the run's own."""

TEMPERATURES = {"student_temperature": (0.025, 0.05, 0.1), "teacher_temperature": (0.03, 0.05, 0.1)}


def candidates(settings: Settings, count: int) -> list[dict[str, Any]]:
    """Returns distinct changes of the settings, drawn by the seed; the first is none, and more hold the fewer.

    Varied are the learning rate and the steps, the temperatures of the loss, mixtures or none, the projection or none
    (behind pretrained features), and the assistant or none, each where it has an effect.

    Args:
        settings: of the run.
        count: how many, at least 1; there may be fewer different ones.
    """
    axes = _axes(settings)
    random = np.random.default_rng([settings.run.small_seed, _STREAM])
    found: list[dict[str, Any]] = [{}]
    for _ in range(100 * count):
        if len(found) == count:
            break
        drawn = {name: values[int(random.integers(len(values)))] for name, values in axes.items()}
        options = {name: drawn.pop(name) for name in TEMPERATURES if name in drawn}
        if options:
            own = parse_loss_options(settings.training.loss_options)
            drawn["loss_options"] = ",".join(f"{name}={_text(value)}" for name, value in (own | options).items())
        change = {name: value for name, value in drawn.items() if value != settings.value(name)}
        if change not in found:
            found.append(change)
    return found


def _axes(settings: Settings) -> dict[str, list[Any]]:
    training, student, idle = settings.training, settings.student, without_effect(settings)
    axes: dict[str, list[Any]] = {
        "learning_rate": [_rounded(training.learning_rate * factor) for factor in LEARNING_RATES],
        "steps": sorted({max(1, round(training.steps * factor)) for factor in STEPS}),
    }
    options = {option.name for option in LOSSES[training.loss].options} if training.loss in LOSSES else set()
    axes |= {name: list(values) for name, values in TEMPERATURES.items() if name in options}
    if "mixtures" not in idle:
        axes["mixtures"] = [0, settings.joint.mixtures or 64]
    if starts_trained(settings) and student.embedding_dim and not student.hash_bits:
        axes["embedding_dim"] = [student.embedding_dim, 0]
    if has_assistant(settings):
        axes["assistant_backbone"] = [settings.assistant.assistant_backbone, None]
    return axes


def _rounded(value: float) -> float:
    return round(value, 3 - math.floor(math.log10(value)))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
