"""The trainer of a run: its loss, its optimizer, and the parts of the joint space, as the settings say."""

from typing import Any

import keras
import numpy as np

from kdistill import losses, students
from kdistill.errors import ArgumentError
from kdistill.hashing.distiller import HashDistiller
from kdistill.layers import EmbeddingBank, JointSpaceInterpolation
from kdistill.losses.across_spaces import AcrossSpaces
from kdistill.losses.two_spaces import TwoSpaces
from kdistill.preferences.losses import ListMLEOfOrders
from kdistill.settings import Settings
from kdistill.settings.effects import in_teacher_space, learns_orders
from kdistill.settings.groups.training import TrainingSettings
from kdistill.settings.loss_options import parse_loss_options
from kdistill.training import optimizers
from kdistill.training.distiller import Distiller


def build_distiller(
    settings: Settings, student: keras.Model, teacher_dim: int, kind: type[Distiller] = Distiller, **options: Any
) -> Distiller:
    """Puts the parts of the joint space around a student, as the settings say; `options` are those of its `kind`."""
    loss, joint = loss_of(settings), settings.joint
    ranks_jointly = bool(getattr(loss, "joint", False))
    if settings.training.freeze_batch_norm:
        students.freeze_batch_norm(student)
    interpolation = None
    # The published rivals are defined on the rows of a batch; only the joint losses know which mixtures to mask.
    if joint.mixtures and ranks_jointly:
        interpolation = JointSpaceInterpolation(
            joint.mixtures,
            distribution=joint.mixing,
            alpha=joint.mixing_alpha,
            pairing=joint.pairing,
            renormalise=joint.renormalise,
            seed=settings.run.small_seed,
        )
    if settings.student.hash_bits:
        if kind is not Distiller:
            raise ArgumentError("a student that shrinks has no binary codes yet; leave out --hash_bits or the target")
        kind = HashDistiller
        options = {
            "distillation": settings.training.hash_distillation,
            "quantisation": settings.training.hash_quantisation,
            "seed": settings.run.small_seed,
        }
    takes_past_rows = ranks_jointly or getattr(loss, "banks", False)
    if in_teacher_space(settings) and ranks_jointly and not settings.space.own_weight:
        takes_past_rows = False  # all known vectors are ranked, which a bank could only repeat
    unequal = getattr(loss, "needs_equal_dims", False) and teacher_dim != students.embedding_dim(student)
    return kind(
        student,
        interpolation=interpolation,
        bank=EmbeddingBank(joint.bank_size) if takes_past_rows and joint.bank_size else None,
        anchors=joint.anchors,
        rank_against=joint.rank_against,
        rank_parents=joint.rank_parents,
        projection_dim=teacher_dim if unequal else None,
        joint_space=settings.training.joint_space,
        **options,
    )


def loss_of(settings: Settings, assistant_dim: int | None = None, known: np.ndarray | None = None) -> keras.losses.Loss:
    """Returns the loss that --loss and --loss_options (`name=value,...`) name; ListMLE where orders are learned.

    `assistant_dim` is that of the assistant's answers where the teacher's stand beside them in the targets. `known` are
    the vectors that a student in the teacher's space ranks, float [K, Ds]: a joint loss is taken across the two spaces.
    """
    options = parse_loss_options(settings.training.loss_options)
    if learns_orders(settings):
        return ListMLEOfOrders(**options)
    loss = losses.get(settings.training.loss, **options)
    if known is not None and getattr(loss, "joint", False):
        return AcrossSpaces(loss, known, settings.space.pointwise_weight, settings.space.own_weight)
    return loss if assistant_dim is None else TwoSpaces(loss, assistant_dim, settings.assistant.assistant_truth)


def optimizer_of(settings: TrainingSettings) -> keras.optimizers.Optimizer:
    """Returns the optimizer with a cosine schedule down to 0 over all steps."""
    schedule = keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.steps)
    return optimizers.get(settings.optimizer, learning_rate=schedule)
