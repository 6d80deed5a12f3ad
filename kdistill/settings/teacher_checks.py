"""Checks of the settings of teachers."""

import os
import re
from pathlib import Path

from kdistill.console.imports import importable
from kdistill.errors import ArgumentError
from kdistill.facts.teachers import AUTO, DEFAULT_SIDE, SCALINGS, is_recipe
from kdistill.settings.effects import has_assistant, teacher_kind
from kdistill.settings.network_checks import check_network
from kdistill.settings.settings import Settings


def check_teacher(settings: Settings) -> None:
    teacher = settings.teacher
    kind = teacher_kind(teacher.teacher)
    if not teacher.teacher.strip():
        raise ArgumentError("--teacher is empty; it names the black box: a file, a function or an address")
    if kind == "function":
        module = teacher.teacher.partition(":")[0]
        if not Path(teacher.teacher).exists() and not importable(module):
            raise ArgumentError(f"--teacher={teacher.teacher}: there is no module {module!r} here to import")
    elif kind in ("table", "model") or (kind == "backbone" and teacher.teacher != "imagenet"):
        if not Path(teacher.teacher).exists():
            raise ArgumentError(f"--teacher={teacher.teacher}: there is no teacher at {teacher.teacher}")
    elif kind == "service":
        _check_service(settings)
    elif kind == "digits" and settings.data.dataset != "digits":
        raise ArgumentError(
            f"--teacher=digits is the embedded teacher of --dataset=digits, not of {settings.data.dataset}; "
            "name your teacher with --teacher"
        )
    if kind == "backbone":
        check_network(
            "teacher_",
            teacher.teacher_backbone,
            teacher.teacher_alpha,
            teacher.teacher_image_size or DEFAULT_SIDE,
            teacher.teacher,
        )
    if not is_recipe(teacher.teacher_scaling):
        raise ArgumentError(
            f"--teacher_scaling={teacher.teacher_scaling} is unknown; choose one of {AUTO}, {', '.join(SCALINGS)}, or "
            "the path of a JSON file such as preprocessor_config.json"
        )
    recipe = teacher.teacher_scaling if kind == "model" and teacher.teacher_scaling.endswith(".json") else None
    if recipe is not None and not Path(recipe).is_file():
        raise ArgumentError(f"--teacher_scaling={recipe} does not exist")


def _check_service(settings: Settings) -> None:
    for header in settings.teacher.teacher_headers:
        name, equals, variable = header.partition("=")
        if not equals or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not variable:
            raise ArgumentError(f"--teacher_headers takes Header=VARIABLE; {name!r} has no variable")
        if variable not in os.environ:
            raise ArgumentError(f"--teacher_headers={header}: the environment has no variable {variable}")
    import urllib.parse

    try:
        parts = urllib.parse.urlsplit(settings.teacher.teacher)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        # Not shown: an address may hold a key.
        raise ArgumentError("--teacher is no http address that can be asked; it should look like https://HOST/PATH")


def check_comparing(settings: Settings) -> None:
    comparing, answers = settings.comparing, settings.teacher.teacher_answers
    if answers == "vectors":
        return
    if answers == "pairs" and not has_assistant(settings):
        raise ArgumentError("--teacher_answers=pairs needs an assistant; name its network with --assistant_backbone")
    if settings.asking.engine != "local":
        raise ArgumentError(
            f"--engine={settings.asking.engine} asks for vectors; orders and pairs are asked with --engine=local"
        )
    if answers == "pairs":
        ways = 2 if comparing.pair_both_ways else 1
        pairs = -(-settings.asking.query_budget // (comparing.pair_queries * ways))
        possible = comparing.candidates * (comparing.candidates - 1) // 2
        if pairs > possible:
            raise ArgumentError(
                f"--query_budget={settings.asking.query_budget} over --pair_queries={comparing.pair_queries}: {pairs} "
                f"pairs were to be drawn of the {possible} that --candidates={comparing.candidates} make"
            )
