"""Several processes that run the same command: which part of it each one does."""

from absl import logging

from kdistill.settings import Settings
from kdistill.stages.distilling.distill import distill
from kdistill.stages.workdir import Workdir
from kdistill.training.distribution import chief_says, is_chief, strategy_of


class Workers:
    """The processes of TF_CONFIG: the chief runs all stages, the others only train with it and write nothing."""

    def __init__(self) -> None:
        """Waits for all workers; must come before all stages, since TensorFlow joins a cluster only when it is unused.

        Raises:
            KdistillError: see `strategy_of`.
        """
        self.strategy = strategy_of("multiworker")

    def follow(self, settings: Settings) -> bool:
        """Does the part of a worker that is not the chief, and says whether this is one.

        Raises:
            WorkerLost: the chief stopped.
        """
        if is_chief(self.strategy):
            return False
        logging.info("waiting for the chief")
        if chief_says(self.strategy, 0):
            distill(settings, Workdir(settings.run.workdir, create=False))
        logging.info("this worker has done its part; the chief does the rest")
        return True

    def lead(self, train: bool) -> None:
        """The chief's word to the others: whether there is something to train.

        Raises:
            WorkerLost: one of them stopped.
        """
        chief_says(self.strategy, int(train))
