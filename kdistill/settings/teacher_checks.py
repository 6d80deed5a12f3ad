"""Checks of the settings of teachers."""

import os
import re
from pathlib import Path

from kdistill.console.imports import importable
from kdistill.errors import ArgumentError
from kdistill.facts.teachers import AUTO, DEFAULT_SIDE, EXTRA_OF, SCALINGS, is_package, is_recipe
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
    elif kind == "digits" and settings.data.kind != "digits":
        raise ArgumentError(
            f"--teacher=digits is the embedded teacher of --dataset=digits, not of {settings.data.kind}; "
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
    for package in teacher.trust_packages:
        if not is_package(package):
            raise ArgumentError(f"--trust_packages={package} is no package that a model's file could need")
        if not importable(package):
            extra = f": python -m pip install 'kdistill[{EXTRA_OF[package]}]'" if package in EXTRA_OF else ""
            raise ArgumentError(f"--trust_packages={package}: there is no such package here to import{extra}")
    if not is_recipe(teacher.teacher_scaling):
        raise ArgumentError(
            f"--teacher_scaling={teacher.teacher_scaling} is unknown; choose one of {AUTO}, {', '.join(SCALINGS)}, or "
            "the path of a JSON file such as preprocessor_config.json"
        )
    recipe = (
        teacher.teacher_scaling if kind in ("model", "service") and teacher.teacher_scaling.endswith(".json") else None
    )
    if recipe is not None and not Path(recipe).is_file():
        raise ArgumentError(f"--teacher_scaling={recipe} does not exist")


def _check_service(settings: Settings) -> None:
    for header in settings.teacher.teacher_headers:
        name, equals, variable = header.partition("=")
        if not equals or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not variable:
            raise ArgumentError(f"--teacher_headers takes Header=VARIABLE; {name!r} has no variable")
        if variable not in os.environ:
            raise ArgumentError(f"--teacher_headers={header}: the environment has no variable {variable}")
    _check_form(settings)
    import urllib.parse

    try:
        parts = urllib.parse.urlsplit(settings.teacher.teacher)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        # Not shown: an address may hold a key.
        raise ArgumentError("--teacher is no http address that can be asked; it should look like https://HOST/PATH")


def _check_form(settings: Settings) -> None:
    # Only here, so that settings of other teachers load fast.
    from kdistill.teachers.services.forms.form import read_form
    from kdistill.teachers.services.service import check_key, check_model

    teacher = settings.teacher
    api = teacher.teacher_api
    if api.lower().endswith(".json") and not Path(api).is_file():
        raise ArgumentError(f"--teacher_api={api} does not exist")
    try:
        form = read_form(api, teacher.teacher)
        check_model(form, teacher.teacher_model)
        check_key(form, [header.partition("=")[0] for header in teacher.teacher_headers])
    except ArgumentError as error:
        raise ArgumentError(f"--teacher_api={api}: {error}") from error
    wanted = {"order": "order", "preference": "pairs"}.get(form.asks)
    if wanted is not None and teacher.teacher_answers != wanted:
        raise ArgumentError(
            f"--teacher_api={api} asks for what --teacher_answers={wanted} takes, not for {teacher.teacher_answers}"
        )
    if teacher.requests_per_minute is not None and settings.asking.engine == "ray":
        raise ArgumentError(
            "--requests_per_minute is kept within one process; with --engine=ray leave it out, or ask with "
            "--engine=local --concurrency"
        )


def only_compares(settings: Settings) -> bool:
    """Says whether a teacher that is asked for orders or pairs gives nothing else: a function, a form for these."""
    kind = teacher_kind(settings.teacher.teacher)
    if kind == "service":
        from kdistill.teachers.services.forms.form import read_form

        return read_form(settings.teacher.teacher_api, settings.teacher.teacher).asks != "vectors"
    return kind == "function"


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
