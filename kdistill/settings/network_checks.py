"""Checks of the settings of networks, by the facts of their backbones."""

import importlib.util
from pathlib import Path

from kdistill.console.imports import importable
from kdistill.errors import ArgumentError
from kdistill.facts.brought import HUB_PACKAGE, is_brought, kind_of, preset_of
from kdistill.facts.students import (
    IMAGENET,
    check_pooling,
    check_size,
    check_width,
    facts_of,
)
from kdistill.settings.effects import compares
from kdistill.settings.settings import Settings


def check_networks(settings: Settings) -> None:
    student = settings.student
    weights = student.student_weights
    distilled = weights is not None and weights.endswith(".keras")
    try:
        facts_of(student.backbone)
    except ArgumentError as error:
        raise ArgumentError(f"--backbone={student.backbone}: {error}") from error
    if is_brought(student.backbone):
        _check_brought("backbone", student.backbone)
        if weights is not None and not distilled:
            raise ArgumentError(
                f"--student_weights={weights} with --backbone={student.backbone}, which brings its own weights; "
                "leave it out, or give the student.keras of another run"
            )
    else:
        check_network("", student.backbone, student.alpha, student.image_size, None if distilled else weights)
    try:
        check_pooling(student.backbone, student.pooling)
    except ArgumentError as error:
        raise ArgumentError(f"--pooling={student.pooling} with --backbone={student.backbone}: {error}") from error
    if distilled and not Path(str(weights)).is_file():
        raise ArgumentError(f"--student_weights={weights} does not exist")
    if student.embedding_dim == 1:
        raise ArgumentError("--embedding_dim=1: an embedding takes at least 2 dimensions; 0 leaves out the projection")
    if student.hash_bits % 8:
        raise ArgumentError(f"--hash_bits={student.hash_bits} is no multiple of 8")


def check_assistant(settings: Settings) -> None:
    chosen = settings.assistant
    backbone = chosen.assistant_backbone
    if backbone is None:
        return
    try:
        facts_of(backbone)
    except ArgumentError as error:
        raise ArgumentError(f"--assistant_backbone={backbone}: {error}") from error
    if is_brought(backbone):
        _check_brought("assistant_backbone", backbone)
    else:
        check_network(
            "assistant_", backbone, chosen.assistant_alpha, chosen.assistant_image_size, chosen.assistant_weights
        )
    if chosen.assistant_training == "whole" and compares(settings):
        raise ArgumentError(
            f"--assistant_training=whole learns from vectors; with --teacher_answers="
            f"{settings.teacher.teacher_answers} the assistant learns by its head"
        )


def _check_brought(flag: str, backbone: str) -> None:
    """Checks what can be known of a network that the user brings before it is opened."""
    kind = kind_of(backbone)
    if kind == "file" and not Path(backbone).is_file():
        raise ArgumentError(f"--{flag}={backbone} does not exist")
    if kind == "function":
        module = backbone.partition(":")[0]
        if not importable(module):
            raise ArgumentError(f"--{flag}={backbone}: there is no module {module!r} here to import")
    if kind == "kerashub":
        if not preset_of(backbone).strip():
            raise ArgumentError(f"--{flag}={backbone} names no preset: kerashub:PRESET, or kerashub:FOLDER of one")
        if importlib.util.find_spec(HUB_PACKAGE) is None:
            raise ArgumentError(f"--{flag}={backbone} needs KerasHub: python -m pip install 'kdistill[kerashub]'")


def check_network(prefix: str, backbone: str, alpha: float, side: int, weights: str | None) -> None:
    """Checks one network by the facts of its backbone; flags are `prefix` with backbone, alpha, image_size."""
    flag = "teacher" if prefix == "teacher_" else f"{prefix or 'student_'}weights"
    try:
        check_size(backbone, side)
    except ArgumentError as error:
        raise ArgumentError(f"--{prefix}image_size={side} with --{prefix}backbone={backbone}: {error}") from error
    try:
        check_width(backbone, alpha, weights)
    except ArgumentError as error:
        start = f" and --{flag}={weights}" if weights else ""
        raise ArgumentError(f"--{prefix}alpha={alpha:g} with --{prefix}backbone={backbone}{start}: {error}") from error
    if weights is not None and weights != IMAGENET and not Path(weights).is_file():
        raise ArgumentError(f"--{flag}={weights} does not exist; give a .weights.h5 file or imagenet")
