"""The trainer of a student that shrinks: gradients are reset, and the lasso closes what the teacher does not need."""

from typing import Any

import keras
import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.layers.compactor import Compactor
from kdistill.training.distiller import Distiller


@keras.saving.register_keras_serializable(package="kdistill")
class CapacityDistiller(Distiller):
    """A `Distiller` of a student with compactors (`insert_compactors`).

    In each step, a compactor's columns that are kept get the gradient of the distillation loss and nothing else; those
    that are not kept get no gradient of that loss, and the group lasso takes `lasso` off their norm. Which columns are
    kept is set from outside (`ChannelSchedule`).

    Source: CDD (Xie et al., CVPR 2023, arXiv 2303.09230) resets gradients so; there the lasso pulls at all columns.
    That kept ones are spared, and that the lasso acts beside the optimizer instead of through it, is our reading: a few
    hundred steps need a pull that would close every column, and Adam would divide any pull away.
    """

    def __init__(self, student: keras.Model, *, lasso: float = 0.01, **kwargs: Any) -> None:
        """Holds the student.

        Args:
            student: of `insert_compactors`.
            lasso: what a step takes off the norm of a column that is not kept; columns start at norm 1.
            **kwargs: of Distiller.

        Raises:
            ArgumentError: a lasso that is not above 0, or a student without compactors.
        """
        super().__init__(student, **kwargs)
        if not lasso > 0:
            raise ArgumentError(f"the lasso takes a step above 0; {lasso} was given")
        self.lasso = lasso
        if not self.compactors:
            raise ArgumentError(f"{student.name} has no compactors; put them in with insert_compactors")

    @property
    def compactors(self) -> list[Compactor]:
        """The compactors of the student, in the order of its layers."""
        return [layer for layer in self.student.layers if isinstance(layer, Compactor)]

    def update_step(self, data: Any) -> tf.Tensor:
        """One step: forward, rank, gradients, reset, update, lasso. Returns the loss."""
        loss, gradients, variables = self.gradients_of(data)
        self.optimizer.apply_gradients(zip(self.reset(gradients, variables), variables, strict=True))
        for compactor in self.compactors:
            compactor.shrink(self.lasso)
        return loss

    def reset(self, gradients: list[Any], variables: list[Any]) -> list[Any]:
        """Returns the gradients with 0 in the columns of compactors that are not kept."""
        owners = {id(compactor.kernel): compactor for compactor in self.compactors}
        return [
            owners[id(variable)].reset(gradient) if id(variable) in owners else gradient
            for gradient, variable in zip(gradients, variables, strict=True)
        ]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of `__init__`, layers serialised."""
        return {**super().get_config(), "lasso": self.lasso}
