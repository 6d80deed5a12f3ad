"""Before the first question: the student, the loss and the optimizer are built once, so that no mistake costs money."""

import keras

from kdistill.settings import Settings
from kdistill.stages.distilling.trainer import loss_of, optimizer_of
from kdistill.stages.opening.models import student_before


def rehearse(settings: Settings) -> None:
    """Builds what training needs and drops it.

    Raises:
        ArgumentError: settings that the networks, the loss or the optimizer refuse.
        KdistillError: weights that are missing, damaged or of another network.
    """
    student_before(settings)
    loss_of(settings)
    optimizer_of(settings.training)
    keras.backend.clear_session()
