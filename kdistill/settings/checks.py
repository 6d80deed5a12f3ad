"""All that can be said about settings before anything is asked, read or trained; without TensorFlow."""

import dataclasses
import importlib.util
import os
import re
import sys
from collections.abc import Collection
from pathlib import Path

from kdistill.errors import ArgumentError
from kdistill.facts.losses import ADDONS_PREFIX, LOSSES, ORDERS, checked_options
from kdistill.facts.optimizers import OPTIMIZERS
from kdistill.facts.students import IMAGENET, check_size, check_width
from kdistill.settings.effects import learns_orders, teacher_kind, without_effect
from kdistill.settings.loss_options import parse_loss_options
from kdistill.settings.setting import check_value
from kdistill.settings.settings import Settings, groups


def check(settings: Settings) -> None:
    """Checks every value, names, combinations, and that named files exist.

    Raises:
        ArgumentError: something that cannot be right, in a sentence.
    """
    for name, group in groups():
        for field in dataclasses.fields(group):
            check_value(group, field, getattr(getattr(settings, name), field.name))
    for part in (_check_run, _check_data, _check_teacher, _check_comparing, _check_networks, _check_training):
        part(settings)
    for part in (_check_joint_space, _check_compaction, _check_evaluation):
        part(settings)


def check_pool(settings: Settings, images: int) -> None:
    """Compares what is to be asked with the number of images in the pool.

    Raises:
        ArgumentError: more than there are, or none at all.
    """
    if not images:
        raise ArgumentError("there are no images to ask about; name a folder of unlabelled ones with --pool_dir")
    answers, comparing = settings.teacher.teacher_answers, settings.comparing
    name, wanted = "query_budget", settings.asking.query_budget
    if answers == "pairs":
        name, wanted = "pair_queries", comparing.pair_queries
    if wanted > images:
        raise ArgumentError(f"--{name}={wanted}, but there are only {images} images to ask about")
    if answers != "vectors" and comparing.candidates >= images:
        raise ArgumentError(
            f"--candidates={comparing.candidates}: of {images} images a query can be compared with 2 to {images - 1}"
        )


def check_effects(settings: Settings, given: Collection[str], from_flagfile: Collection[str] = ()) -> list[str]:
    """Refuses settings that were given and have no effect beside the others.

    One that stands in a flagfile is forgiven where a flag on the command line, which may overrule the file, makes it
    so: what it is told then is returned.

    Args:
        settings: of the run.
        given: names that were given on the command line.
        from_flagfile: names that were given in flagfiles.

    Raises:
        ArgumentError: the first one, with the setting that makes it so.
    """
    told = []
    idle = without_effect(settings)
    for name in (*given, *from_flagfile):
        if name not in idle:
            continue
        sentence = f"--{name} has no effect {idle[name].why}"
        if name in given or idle[name].cause not in given:
            raise ArgumentError(f"{sentence}; leave one of them out")
        told.append(f"{sentence}; the flagfile's value is not used")
    return told


def _check_run(settings: Settings) -> None:
    workdir = settings.run.workdir
    if not workdir.strip():
        raise ArgumentError("--workdir is empty; it names the folder of the run")
    if Path(workdir).exists() and not Path(workdir).is_dir():
        raise ArgumentError(f"--workdir={workdir} is a file; it takes a folder")
    location = settings.asking.ledger
    if location is None:
        return
    from kdistill.teachers.ledger.locations import is_address, parse_address

    if is_address(location):
        parse_address(location)
        if importlib.util.find_spec("psycopg") is None:
            raise ArgumentError("--ledger names a database, which needs psycopg (pip install 'kdistill[postgres]')")
    elif Path(location).is_dir():
        raise ArgumentError(f"--ledger={location} is a folder; it takes a file, or the address of a database")
    elif not Path(location).absolute().parent.is_dir():
        raise ArgumentError(f"--ledger={location} lies in a folder that does not exist")


def _check_data(settings: Settings) -> None:
    data = settings.data
    if data.dataset == "digits":
        return
    if data.data_dir is None:
        raise ArgumentError(f"--dataset={data.dataset} needs --data_dir, the folder of its images")
    _folder("data_dir", data.data_dir)
    if data.dataset == "lists":
        for name in ("pool_file", "gallery_file", "query_file", "val_file"):
            value = getattr(data, name)
            if value is not None and not (Path(data.data_dir) / value).is_file():
                raise ArgumentError(f"--{name}={value} names no file in {data.data_dir}")
    if data.dataset == "revisited":
        if data.gnd_file is not None and not (Path(data.data_dir) / data.gnd_file).is_file():
            raise ArgumentError(f"--gnd_file={data.gnd_file} names no file in {data.data_dir}")
        for name in ("pool_dir", "distractor_dir"):
            if getattr(data, name) is not None:
                _folder(name, getattr(data, name))


def _check_teacher(settings: Settings) -> None:
    teacher = settings.teacher
    kind = teacher_kind(teacher.teacher)
    if not teacher.teacher.strip():
        raise ArgumentError("--teacher is empty; it names the black box: a file, a function or an address")
    if kind == "function":
        module = teacher.teacher.partition(":")[0]
        if not Path(teacher.teacher).exists() and not _importable(module):
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
        _check_network(
            "teacher_", teacher.teacher_backbone, teacher.teacher_alpha, teacher.teacher_image_size, teacher.teacher
        )


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


def _check_comparing(settings: Settings) -> None:
    comparing, answers = settings.comparing, settings.teacher.teacher_answers
    if answers == "vectors":
        return
    if answers == "pairs" and comparing.ranker_backbone is None:
        raise ArgumentError("--teacher_answers=pairs needs a ranker; name its network with --ranker_backbone")
    if settings.asking.engine != "local":
        raise ArgumentError(
            f"--engine={settings.asking.engine} asks for vectors; orders and pairs are asked with --engine=local"
        )
    if comparing.ranker_backbone is not None:
        _check_network(
            "ranker_", comparing.ranker_backbone, comparing.ranker_alpha, comparing.ranker_image_size,
            comparing.ranker_weights,
        )  # fmt: skip
    if answers == "pairs":
        ways = 2 if comparing.pair_both_ways else 1
        pairs = -(-settings.asking.query_budget // (comparing.pair_queries * ways))
        possible = comparing.candidates * (comparing.candidates - 1) // 2
        if pairs > possible:
            raise ArgumentError(
                f"--query_budget={settings.asking.query_budget} over --pair_queries={comparing.pair_queries}: {pairs} "
                f"pairs were to be drawn of the {possible} that --candidates={comparing.candidates} make"
            )


def _check_networks(settings: Settings) -> None:
    student = settings.student
    weights = student.student_weights
    distilled = weights is not None and weights.endswith(".keras")
    _check_network("", student.backbone, student.alpha, student.image_size, None if distilled else weights)
    if distilled and not Path(str(weights)).is_file():
        raise ArgumentError(f"--student_weights={weights} does not exist")
    if student.embedding_dim == 1:
        raise ArgumentError("--embedding_dim=1: an embedding takes at least 2 dimensions; 0 leaves out the projection")
    if student.hash_bits % 8:
        raise ArgumentError(f"--hash_bits={student.hash_bits} is no multiple of 8")


def _check_network(prefix: str, backbone: str, alpha: float, side: int, weights: str | None) -> None:
    """Checks one network by the facts of its backbone; flags are `prefix` with backbone, alpha, image_size."""
    flag = "teacher" if prefix == "teacher_" else f"{prefix or 'student_'}weights"
    try:
        check_size(backbone, side)
    except ArgumentError as error:
        raise ArgumentError(f"--{prefix}image_size: {error}") from error
    try:
        check_width(backbone, alpha, weights)
    except ArgumentError as error:
        raise ArgumentError(f"--{prefix}alpha, --{flag}: {error}") from error
    if weights is not None and weights != IMAGENET and not Path(weights).is_file():
        raise ArgumentError(f"--{flag}={weights} does not exist; give a .weights.h5 file or imagenet")


def _check_training(settings: Settings) -> None:
    training = settings.training
    orders = learns_orders(settings)
    if not orders:
        if training.loss.startswith(ADDONS_PREFIX):
            _needs_addons("loss", training.loss)
        elif training.loss not in LOSSES:
            offered = ", ".join(name for name, facts in LOSSES.items() if not facts.needs_labels)
            raise ArgumentError(
                f"--loss={training.loss}: loss {training.loss!r} is unknown; choose one of {offered}, or Addons>..."
            )
        elif LOSSES[training.loss].needs_labels:
            raise ArgumentError(f"--loss={training.loss} learns from class labels, which a run does not have")
    options = parse_loss_options(training.loss_options)
    if orders or not training.loss.startswith(ADDONS_PREFIX):
        try:
            checked_options(ORDERS if orders else training.loss, options)
        except ArgumentError as error:
            raise ArgumentError(f"--loss_options: {error}") from error
    if training.optimizer.startswith(ADDONS_PREFIX):
        _needs_addons("optimizer", training.optimizer)
    elif training.optimizer.lower() not in OPTIMIZERS:
        raise ArgumentError(
            f"--optimizer={training.optimizer} is unknown; choose one of {', '.join(OPTIMIZERS)}, or Addons>..."
        )
    if training.strategy != "none" and orders:
        raise ArgumentError("training from orders runs in one process; leave out --strategy")


def _check_joint_space(settings: Settings) -> None:
    joint = settings.joint
    if not joint.mixtures and "anchors" not in without_effect(settings):
        return
    if not joint.mixtures and joint.anchors == "mixtures":
        raise ArgumentError("--anchors=mixtures with --mixtures=0: there is nothing that ranks")
    if not joint.mixtures and not joint.bank_size and joint.rank_against == "mixtures":
        raise ArgumentError("--rank_against=mixtures with --mixtures=0 and --bank_size=0: there is nothing to rank")


def _check_compaction(settings: Settings) -> None:
    compaction = settings.compaction
    if compaction.target_flops and compaction.target_params:
        raise ArgumentError("--target_flops and --target_params were given; one of them decides")
    if not compaction.target_flops and not compaction.target_params:
        return
    target = "target_flops" if compaction.target_flops else "target_params"
    if settings.training.strategy != "none":
        raise ArgumentError(f"a student that shrinks trains on one device; leave out --strategy or --{target}")
    if settings.student.hash_bits:
        raise ArgumentError(f"a student that shrinks has no binary codes yet; leave out --hash_bits or --{target}")
    if learns_orders(settings):
        raise ArgumentError("a student that shrinks learns from vectors; give orders a ranker (--ranker_backbone)")
    if not compaction.shrink_from < compaction.shrink_until < 1:
        raise ArgumentError(
            "--shrink_from and --shrink_until are shares of the steps, one after the other; "
            f"{compaction.shrink_from} and {compaction.shrink_until} were given"
        )
    if settings.training.steps < 3:
        raise ArgumentError(
            f"a student that shrinks trains in three phases; --steps={settings.training.steps} is too few"
        )


def _check_evaluation(settings: Settings) -> None:
    evaluation = settings.evaluation
    paid = evaluation.score_teacher == "yes" and teacher_kind(settings.teacher.teacher) == "service"
    if paid and not evaluation.scoring_budget:
        raise ArgumentError(
            "--score_teacher=yes asks the service about the images of the evaluation; say how many questions that may "
            "take with --scoring_budget"
        )
    if not evaluation.scales:
        raise ArgumentError("--scales names no scale; give numbers such as 1,0.7071,0.5")
    if evaluation.whiten == "none":
        return
    if evaluation.whiten_dir is not None:
        _folder("whiten_dir", evaluation.whiten_dir)
    elif evaluation.whiten == "learned" and not _has_validation(settings):
        raise ArgumentError("--whiten=learned needs labelled images: --whiten_dir=DIR with DIR/CLASS/*, or --val_file")
    dimension = settings.student.hash_bits or settings.student.embedding_dim
    if dimension and evaluation.whiten_dim > dimension:
        raise ArgumentError(f"--whiten_dim={evaluation.whiten_dim} is more than the student's {dimension} dimensions")


def _has_validation(settings: Settings) -> bool:
    data = settings.data
    if data.dataset == "lists":
        return data.val_file is not None
    return data.dataset == "digits" or (data.dataset == "folder" and (Path(str(data.data_dir)) / "val").is_dir())


def _folder(name: str, value: str) -> None:
    if not Path(value).is_dir():
        raise ArgumentError(f"--{name}={value}: the folder does not exist")


def _importable(module: str) -> bool:
    # The current folder counts, as for `python -m`; parents are packages, whose import may do anything, so only the
    # first part is looked for.
    first = module.partition(".")[0]
    here = os.getcwd()
    return (
        first in sys.modules
        or importlib.util.find_spec(first) is not None
        or os.path.exists(os.path.join(here, f"{first}.py"))
        or os.path.isdir(os.path.join(here, first))
    )


def _needs_addons(setting: str, value: str) -> None:
    if importlib.util.find_spec("tensorflow_addons") is None:
        raise ArgumentError(
            f"--{setting}={value} belongs to tensorflow-addons, which is not installed; "
            "use the environment of `pip install .[addons]`"
        )
