"""Before the first question: networks, loss and optimizer are built once, so that no mistake costs money."""

from kdistill import stacks, students
from kdistill.settings import Settings
from kdistill.settings.effects import has_assistant, trains_whole
from kdistill.stages.distilling.trainer import loss_of, optimizer_of
from kdistill.stages.opening.models import assistant_network, student_before


def rehearse(settings: Settings) -> None:
    """Builds what training needs and drops it.

    Raises:
        ArgumentError: settings that the networks, the loss or the optimizer refuse.
        KdistillError: weights that are missing, damaged or of another network.
    """
    precision = settings.training.training_precision
    students.in_precision(student_before(settings), precision)
    if has_assistant(settings):
        assistant = assistant_network(settings, settings.assistant.assistant_dim)
        students.in_precision(assistant, precision if trains_whole(settings) else "float32")
    loss_of(settings)
    optimizer_of(settings.training)
    stacks.forget_names()
