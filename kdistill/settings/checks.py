"""All that can be said about settings before anything is asked, read or trained; without TensorFlow."""

import dataclasses
import importlib.util
from collections.abc import Collection
from pathlib import Path

from kdistill.errors import ArgumentError
from kdistill.facts.data import ROLES
from kdistill.facts.extras import CONVERTER_PACKAGES, ONNX_PACKAGES, missing_of
from kdistill.settings.effects import compares, teacher_kind, without_effect
from kdistill.settings.network_checks import check_assistant, check_networks
from kdistill.settings.setting import check_value
from kdistill.settings.settings import FIELDS, Settings, groups
from kdistill.settings.space_checks import check_space
from kdistill.settings.teacher_checks import check_comparing, check_teacher, only_compares
from kdistill.settings.training_checks import check_compaction, check_joint_space, check_training


def check(settings: Settings) -> None:
    """Checks every value, names, combinations, and that named files exist.

    Raises:
        ArgumentError: something that cannot be right, in a sentence.
    """
    for name, group in groups():
        for field in dataclasses.fields(group):
            check_value(group, field, getattr(getattr(settings, name), field.name))
    for part in (
        _check_run,
        _check_data,
        check_teacher,
        check_comparing,
        check_networks,
        check_assistant,
        check_training,
        check_space,
    ):
        part(settings)
    for part in (check_joint_space, check_compaction, _check_evaluation, _check_export):
        part(settings)


def check_pool(settings: Settings, images: int, held_out: int = 0) -> None:
    """Compares what is to be asked with the number of images in the pool, less those that are held out of it.

    Raises:
        ArgumentError: more than there are, or none at all.
    """
    without = f" beside the {held_out} that are held out for judging (--judge_queries)" if held_out else ""
    images -= held_out
    if not images:
        raise ArgumentError(f"there are no images to ask about{without}; name a folder of unlabelled ones")
    answers, comparing = settings.teacher.teacher_answers, settings.comparing
    name, wanted = "query_budget", settings.asking.query_budget
    if answers == "pairs":
        name, wanted = "pair_queries", comparing.pair_queries
    if wanted > images:
        raise ArgumentError(f"--{name}={wanted}, but there are only {images} images to ask about{without}")
    if answers != "vectors" and comparing.candidates >= images:
        raise ArgumentError(
            f"--candidates={comparing.candidates}: of {images} images a query can be compared with 2 to {images - 1}"
        )


def check_gallery(settings: Settings, images: int) -> None:
    """Compares what the exported retriever is to answer with the number of images in the gallery.

    The default number of neighbours is as many as there are where a gallery has fewer.

    Raises:
        ArgumentError: more neighbours than images, or more files than can answer with so many.
    """
    export = settings.export
    if not images:
        raise ArgumentError("there are no images to search; the gallery is empty")
    if export.top_k > images and export.top_k != FIELDS["top_k"].default:
        raise ArgumentError(f"--top_k={export.top_k}, but the gallery has only {images} images")
    if export.shards > 1 and min(export.top_k, images) > images // export.shards:
        raise ArgumentError(
            f"--shards={export.shards} files of {images} images hold {images // export.shards} each, less than "
            f"--top_k={export.top_k}"
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
    from kdistill.teachers.ledger.addresses import is_address, parse_address

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
    if data.kind == "digits":
        return
    if data.data_dir is None:
        raise ArgumentError(f"--dataset={data.dataset} needs --data_dir, the folder of its images")
    _folder("data_dir", data.data_dir)
    root = Path(data.data_dir)
    if data.dataset == "auto" and not any((root / role).is_dir() for role in ROLES):
        _refuse_to_guess(root, data.gallery_file)
    if data.kind == "lists":
        for name in ("pool_file", "gallery_file", "query_file", "val_file"):
            value = getattr(data, name)
            if value is not None and not (root / value).is_file():
                raise ArgumentError(f"--{name}={value} names no file in {data.data_dir}")
    if data.kind == "revisited":
        if data.gnd_file is not None and not (root / data.gnd_file).is_file():
            raise ArgumentError(f"--gnd_file={data.gnd_file} names no file in {data.data_dir}")
        for name in ("pool_dir", "distractor_dir"):
            if getattr(data, name) is not None:
                _folder(name, getattr(data, name))


def _refuse_to_guess(root: Path, gallery_file: str) -> None:
    """Raises where a folder that is to be taken as photos alone holds what looks like roles in another form."""
    if (root / "jpg").is_dir() and any(root.glob("gnd_*.pkl")):
        raise ArgumentError(
            f"--data_dir={root} holds jpg/ and gnd_*.pkl; say whether that is --dataset=revisited, or --dataset=folder "
            "for photos alone"
        )
    if (root / gallery_file).is_file():
        raise ArgumentError(
            f"--data_dir={root} holds {gallery_file}; say whether that is the list of the gallery (--dataset=lists), "
            "or --dataset=folder for photos alone"
        )


def _check_evaluation(settings: Settings) -> None:
    evaluation = settings.evaluation
    paid = evaluation.score_teacher == "yes" and teacher_kind(settings.teacher.teacher) == "service"
    if paid and not evaluation.scoring_budget:
        raise ArgumentError(
            "--score_teacher=yes asks the service about the images of the evaluation; say how many questions that may "
            "take with --scoring_budget"
        )
    if evaluation.score_teacher == "yes" and compares(settings) and only_compares(settings):
        raise ArgumentError(
            f"--score_teacher=yes needs vectors, and with --teacher_answers={settings.teacher.teacher_answers} the "
            f"teacher {settings.teacher.teacher} only compares"
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
        name = "hash_bits" if settings.student.hash_bits else "embedding_dim"
        raise ArgumentError(
            f"--whiten_dim={evaluation.whiten_dim} is more than the student's {dimension} dimensions (--{name})"
        )


def _check_export(settings: Settings) -> None:
    if settings.export.converter == "litert" and (
        missing := missing_of("litert", (*CONVERTER_PACKAGES, *ONNX_PACKAGES))
    ):
        raise ArgumentError(f"--converter=litert needs {missing}")
    precision = settings.export.gallery_precision
    if precision in ("binary", "asymmetric") and not settings.student.hash_bits:
        raise ArgumentError(
            f"--gallery_precision={precision} stores codes, which only a student with --hash_bits makes"
        )


def _has_validation(settings: Settings) -> bool:
    data = settings.data
    if data.kind == "lists":
        return data.val_file is not None
    return data.kind == "digits" or (data.kind == "folder" and (Path(str(data.data_dir)) / "val").is_dir())


def _folder(name: str, value: str) -> None:
    if not Path(value).is_dir():
        raise ArgumentError(f"--{name}={value}: the folder does not exist")
