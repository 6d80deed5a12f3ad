"""Which settings have no effect beside the others."""

import dataclasses
from collections.abc import Iterator

from kdistill.console.imports import names_function
from kdistill.facts.brought import is_brought, kind_of
from kdistill.facts.losses import LOSSES
from kdistill.facts.students import has_one_width
from kdistill.settings.service_effects import of_service
from kdistill.settings.settings import GROUP_OF, Settings

_PAIRS = ("pair_queries", "pair_sampler", "pair_both_ways", "pair_tie_margin")
_MIXING = ("mixing", "mixing_alpha", "pairing", "renormalise", "rank_parents", "anchors", "rank_against")


@dataclasses.dataclass(frozen=True)
class NoEffect:
    """Why a setting changes nothing.

    Attributes:
        cause: the setting that makes it so.
        why: what stands behind "has no effect".
    """

    cause: str
    why: str


def without_effect(settings: Settings) -> dict[str, NoEffect]:
    """Returns the settings that change nothing beside the others, by name."""
    found: dict[str, NoEffect] = {}
    for names, cause, why in _rules(settings):
        for name in names:
            found.setdefault(name, NoEffect(cause, why or f"with --{cause}={_shown(settings, cause)}"))
    return found


def teacher_kind(teacher: str) -> str:
    """Returns "digits", "backbone", "service", "table", "function" or "model" for what `--teacher` names."""
    if teacher == "digits":
        return "digits"
    if teacher == "imagenet" or teacher.endswith(".weights.h5"):
        return "backbone"
    if teacher.startswith(("http://", "https://")):
        return "service"
    if teacher.endswith((".npz", ".npy", ".parquet")):
        return "table"
    return "function" if names_function(teacher) else "model"


def compares(settings: Settings) -> bool:
    """Says whether the teacher compares images instead of embedding them."""
    return settings.teacher.teacher_answers != "vectors"


def learns_orders(settings: Settings) -> bool:
    """Says whether the student itself learns a teacher's orders, without an assistant in between."""
    return settings.teacher.teacher_answers == "order" and not has_assistant(settings)


def has_assistant(settings: Settings) -> bool:
    """Says whether a run is to have an assistant."""
    return settings.assistant.assistant_backbone is not None


def trains_whole(settings: Settings) -> bool:
    """Says whether the whole assistant learns, not its head alone."""
    training = settings.assistant.assistant_training
    return training == "whole" or (training == "auto" and not compares(settings))


def starts_trained(settings: Settings) -> bool:
    """Says whether the student's backbone comes with weights, of a file or with a network that the user brings."""
    return bool(settings.student.student_weights) or is_brought(settings.student.backbone)


def is_compared(settings: Settings) -> bool:
    """Says whether the assistant has to agree with held-out answers better than the student."""
    return has_assistant(settings) and settings.assistant.assistant_if_better and not compares(settings)


def learns_truth(settings: Settings) -> bool:
    """Says whether the student learns the teacher's own ranking beside the assistant's."""
    return (
        has_assistant(settings)
        and "assistant_truth" not in without_effect(settings)
        and bool(settings.assistant.assistant_truth)
    )


def in_teacher_space(settings: Settings) -> bool:
    """Says whether the student embeds into the teacher's own space."""
    return settings.space.space == "teacher"


def chooses(settings: Settings) -> str | None:
    """Returns whose features decide what is asked: "student" (before distillation), "assistant", or None for chance."""
    if compares(settings):
        return "assistant" if has_assistant(settings) else "student"
    return None if settings.asking.selection == "random" else "student"


def _rules(settings: Settings) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yields (names, the setting that makes them idle, the reason where the setting's value does not say it)."""
    yield from _of_data(settings)
    yield from _of_teacher(settings)
    yield from _of_joint_space(settings)
    yield from _of_assistant(settings)
    yield from _of_space(settings)
    if has_one_width(settings.student.backbone):
        yield ("alpha",), "backbone", ""
    if not is_brought(settings.student.backbone):
        yield ("backbone_scaling",), "backbone", ""
    if not settings.student.hash_bits:
        yield ("hash_distillation", "hash_quantisation"), "hash_bits", ""
    if settings.training.strategy == "none":
        yield ("joint_space",), "strategy", ""
    if not settings.compaction.target_flops and not settings.compaction.target_params:
        rest = (name for name, group in GROUP_OF.items() if group == "compaction" and not name.startswith("target_"))
        yield tuple(rest), "target_flops", "without --target_flops or --target_params"
    if settings.compaction.channel_importance != "neighbours":
        yield ("channel_neighbours",), "channel_importance", ""
    if settings.evaluation.whiten == "none":
        yield ("whiten_dir", "whiten_dim", "whiten_shrinkage"), "whiten", ""
    if settings.evaluation.score_teacher != "yes":
        yield ("scoring_budget",), "score_teacher", ""
    elif teacher_kind(settings.teacher.teacher) not in ("service", "function"):
        yield ("scoring_budget",), "teacher", f"with --teacher={settings.teacher.teacher}, which charges nothing"
    if settings.asking.engine != "ray":
        yield ("actors",), "engine", ""


def _of_data(settings: Settings) -> Iterator[tuple[tuple[str, ...], str, str]]:
    dataset = settings.data.kind
    meant = {"digits": "the embedded data", "folder": "a folder of photos"}
    why = f"with --dataset=auto, which here means {meant[dataset]}" if settings.data.dataset == "auto" else ""
    if dataset != "lists":
        yield ("pool_file", "gallery_file", "query_file", "val_file"), "dataset", why
    if dataset == "revisited":
        yield ("most_queries",), "dataset", "with --dataset=revisited, whose queries are given"
    else:
        yield ("gnd_file", "pool_dir", "distractor_dir"), "dataset", why
    if dataset == "digits":
        yield ("data_dir",), "dataset", ""
        yield ("cache_gb",), "dataset", "with the embedded data, which stands in memory"
        if settings.evaluation.whiten == "none" or settings.evaluation.whiten_dir is None:
            yield ("max_megapixels",), "dataset", "with the embedded data, which has no files"


def _of_teacher(settings: Settings) -> Iterator[tuple[tuple[str, ...], str, str]]:
    kind = teacher_kind(settings.teacher.teacher)
    if kind == "service":
        yield from of_service(settings)
    elif kind != "model":
        yield ("teacher_scaling", "teacher_output", "teacher_pooling"), "teacher", ""
    if kind not in ("model", "backbone", "service"):
        yield ("teacher_image_size",), "teacher", ""
    own_classes = kind == "model" and not settings.teacher.teacher.endswith((".onnx", ".tflite"))
    networks = (settings.student.backbone, settings.assistant.assistant_backbone or "")
    if not own_classes and not {"file", "function"} & {kind_of(network) for network in networks}:
        yield ("trust_packages",), "teacher", ""
    if kind != "backbone":
        yield ("teacher_backbone", "teacher_alpha"), "teacher", ""
    elif has_one_width(settings.teacher.teacher_backbone):
        yield ("teacher_alpha",), "teacher_backbone", ""
    if kind != "service":
        yield ("teacher_api", "teacher_model", "teacher_headers", "teacher_timeout", "teacher_retries"), "teacher", ""
        yield ("requests_per_minute",), "teacher", ""
    if kind not in ("service", "function"):
        yield ("concurrency",), "teacher", ""
    if settings.asking.engine == "ray":
        yield ("concurrency",), "engine", ""
    if settings.teacher.teacher_answers == "vectors":
        yield tuple(name for name, group in GROUP_OF.items() if group == "comparing"), "teacher_answers", ""
    if settings.teacher.teacher_answers != "pairs":
        yield _PAIRS, "teacher_answers", ""
    if compares(settings):
        yield ("whiten_teacher", "judge_queries", "tune"), "teacher_answers", ""


def _of_assistant(settings: Settings) -> Iterator[tuple[tuple[str, ...], str, str]]:
    backbone = settings.assistant.assistant_backbone
    if backbone is None:
        every = (name for name, group in GROUP_OF.items() if group == "assistant" and name != "assistant_backbone")
        yield tuple(every), "assistant_backbone", "without --assistant_backbone"
        return
    brought = is_brought(backbone)
    yield (("assistant_weights",) if brought else ("assistant_backbone_scaling",)), "assistant_backbone", ""
    if has_one_width(backbone):
        yield ("assistant_alpha",), "assistant_backbone", ""
    if not trains_whole(settings):
        yield ("assistant_dim", "assistant_learning_rate"), "assistant_training", "where only a head learns"
    if compares(settings):
        yield ("assistant_if_better", "assistant_truth"), "teacher_answers", ""
    loss = LOSSES.get(settings.training.loss)
    if loss is None or not loss.joint:
        why = f"with --loss={settings.training.loss}, which ranks only the rows of the batch"
        yield ("assistant_truth",), "loss", why
    for name in ("hash_bits", "target_flops", "target_params"):
        if settings.value(name):
            yield ("assistant_truth",), name, f"with --{name}={settings.value(name)}, where the assistant alone teaches"


def _of_space(settings: Settings) -> Iterator[tuple[tuple[str, ...], str, str]]:
    if not in_teacher_space(settings):
        yield ("pointwise_weight", "own_weight", "query_turn"), "space", ""
        return
    loss = LOSSES.get(settings.training.loss)
    if (loss is None or not loss.joint) and not (has_assistant(settings) and trains_whole(settings)):
        why = f"with --loss={settings.training.loss}, which is taken as it is"
        yield ("pointwise_weight", "own_weight"), "loss", why
    elif not settings.space.own_weight:
        yield ("bank_size",), "own_weight", "in the teacher's space, where all known vectors are ranked"
    # The assistant answers in the same space, and where the teacher answered its own vectors count.
    yield ("assistant_dim", "assistant_truth"), "space", ""


def _of_joint_space(settings: Settings) -> Iterator[tuple[tuple[str, ...], str, str]]:
    joint, training = settings.joint, settings.training
    everything = tuple(name for name, group in GROUP_OF.items() if group == "joint")
    if learns_orders(settings):
        why = "with --teacher_answers=order and no --assistant_backbone, where the student learns the orders themselves"
        yield ("loss", *everything), "teacher_answers", why
        return
    loss = LOSSES.get(training.loss)
    if (loss is None or not loss.joint) and not (has_assistant(settings) and trains_whole(settings)):
        if loss is not None and loss.banks:
            rest = tuple(name for name in everything if name != "bank_size")
            yield rest, "loss", f"with --loss={training.loss}, which ranks past rows but no mixtures"
        else:
            yield everything, "loss", f"with --loss={training.loss}, which ranks only the rows of the batch"
        return
    if not joint.mixtures:
        yield _MIXING, "mixtures", ""
    if joint.mixing != "beta":
        yield ("mixing_alpha",), "mixing", ""
    if loss is None or not any(option.name == "similarity" for option in loss.options):
        yield ("renormalise",), "loss", ""
    elif "similarity=dot" not in training.loss_options.replace(" ", "").split(","):
        why = f"with --loss={training.loss} over cosines, which no length changes (--loss_options=similarity=dot)"
        yield ("renormalise",), "loss", why
    if joint.anchors == joint.rank_against != "both":
        yield ("rank_parents",), "anchors", f"with --anchors and --rank_against={joint.anchors}"


def _shown(settings: Settings, name: str) -> str:
    value = settings.value(name)
    return "" if value is None else str(value)
