"""Checks of the settings of training."""

import importlib.util
import os

from kdistill.console.imports import importable, names_function
from kdistill.errors import ArgumentError
from kdistill.facts.brought import is_brought
from kdistill.facts.losses import ADDONS_PREFIX, LOSSES, ORDERS, checked_options
from kdistill.facts.optimizers import OPTIMIZERS
from kdistill.settings.effects import learns_orders, starts_trained, without_effect
from kdistill.settings.loss_options import parse_loss_options
from kdistill.settings.settings import Settings

SMALLEST_BATCH_OF_ORDERS = 6


def check_training(settings: Settings) -> None:
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
        raise ArgumentError(
            f"--strategy={training.strategy} with --teacher_answers=order and no --assistant_backbone: training from "
            "orders runs on one device"
        )
    if orders and training.batch_size < SMALLEST_BATCH_OF_ORDERS:
        raise ArgumentError(
            f"--batch_size={training.batch_size} with --teacher_answers=order and no --assistant_backbone: a batch "
            f"holds two queries with two candidates each or more, {SMALLEST_BATCH_OF_ORDERS} images"
        )
    if training.steps * training.batch_size >= 2**31:
        raise ArgumentError(
            f"--steps={training.steps} with --batch_size={training.batch_size}: a training shows at most {2**31 - 1:,} "
            "images"
        )
    if training.freeze_batch_norm and not starts_trained(settings):
        raise ArgumentError(
            "--freeze_batch_norm keeps what a pretrained backbone has learned; without --student_weights it starts at "
            "random"
        )
    for name in training.callbacks:
        module = name.partition(":")[0]
        if not names_function(name):
            raise ArgumentError(f"--callbacks={name} is not of the form package.module:function")
        if not importable(module):
            raise ArgumentError(f"--callbacks={name}: there is no module {module!r} here to import")
    _check_tuning(settings)
    _check_memory(settings)


def _check_tuning(settings: Settings) -> None:
    training, compaction = settings.training, settings.compaction
    if not training.tune or "tune" in without_effect(settings):
        return
    beside = {
        "strategy": training.strategy != "none",
        "target_flops": bool(compaction.target_flops),
        "target_params": bool(compaction.target_params),
    }
    for name, given in beside.items():
        if given:
            raise ArgumentError(f"--tune={training.tune} tries plain trainings on one device; leave out --{name}")


def check_joint_space(settings: Settings) -> None:
    joint = settings.joint
    if not joint.mixtures and "anchors" not in without_effect(settings):
        return
    if not joint.mixtures and joint.anchors == "mixtures":
        raise ArgumentError("--anchors=mixtures with --mixtures=0: there is nothing that ranks")
    if not joint.mixtures and not joint.bank_size and joint.rank_against == "mixtures":
        raise ArgumentError("--rank_against=mixtures with --mixtures=0 and --bank_size=0: there is nothing to rank")


def check_compaction(settings: Settings) -> None:
    compaction = settings.compaction
    if compaction.target_flops and compaction.target_params:
        raise ArgumentError("--target_flops and --target_params were given; one of them decides")
    if not compaction.target_flops and not compaction.target_params:
        return
    target = "target_flops" if compaction.target_flops else "target_params"
    if settings.training.strategy != "none":
        raise ArgumentError(f"a student that shrinks trains on one device; leave out --strategy or --{target}")
    if settings.training.training_precision != "float32":
        raise ArgumentError(f"a student that shrinks trains in float32; leave out --training_precision or --{target}")
    if settings.student.hash_bits:
        raise ArgumentError(f"a student that shrinks has no binary codes yet; leave out --hash_bits or --{target}")
    if is_brought(settings.student.backbone):
        raise ArgumentError(
            f"--{target} with --backbone={settings.student.backbone}: channels are taken from networks known by name, "
            "whose every layer stands in the student itself"
        )
    if learns_orders(settings):
        raise ArgumentError(
            f"--{target} with --teacher_answers=order and no --assistant_backbone: a student that shrinks learns from "
            "vectors"
        )
    if not compaction.shrink_from < compaction.shrink_until < 1:
        raise ArgumentError(
            "--shrink_from and --shrink_until are shares of the steps, one after the other; "
            f"{compaction.shrink_from} and {compaction.shrink_until} were given"
        )
    if settings.training.steps < 3:
        raise ArgumentError(
            f"a student that shrinks (--{target}) trains in three phases; --steps={settings.training.steps} is too few"
        )


def _check_memory(settings: Settings) -> None:
    """Refuses what cannot fit into this machine, whatever else it holds, before anything is paid for."""
    training, joint, student = settings.training, settings.joint, settings.student
    side = f"--image_size={student.image_size}"
    pixels = 3 * student.image_size**2
    needed = {f"--batch_size={training.batch_size} with {side}": 4 * training.batch_size * pixels}
    # The rows of all batches between two pauses, and their order.
    shown = -(-training.steps // training.evaluations) * training.batch_size
    counts = (f"--{name}={settings.value(name)}" for name in ("steps", "batch_size", "evaluations"))
    needed[", ".join(counts)] = 20 * shown
    if "bank_size" not in without_effect(settings):
        dimension = student.hash_bits or student.embedding_dim
        needed[f"--bank_size={joint.bank_size}"] = 4 * joint.bank_size * dimension
        anchors = {"originals": training.batch_size, "mixtures": joint.mixtures}
        ranking = anchors.get(joint.anchors, sum(anchors.values()))
        rows = training.batch_size + joint.mixtures + joint.bank_size
        counts = (f"--{name}={settings.value(name)}" for name in ("batch_size", "mixtures", "bank_size"))
        # The similarities of teacher and student.
        needed[", ".join(counts)] = 2 * 4 * ranking * rows
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for names, octets in needed.items():
        if octets > memory:
            raise ArgumentError(
                f"{names}: this takes {octets / 1e9:,.0f} GB of memory or more, and the machine has {memory / 1e9:,.0f}"
            )


def _needs_addons(setting: str, value: str) -> None:
    if importlib.util.find_spec("tensorflow_addons") is None:
        raise ArgumentError(
            f"--{setting}={value} belongs to tensorflow-addons, which is not installed; "
            "use the environment of `pip install .[addons]`"
        )
