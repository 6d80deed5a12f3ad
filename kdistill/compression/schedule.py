"""When channels are given up: in rounds, each with a target nearer to the last one."""

from collections.abc import Callable, Sequence

import keras
import numpy as np

from kdistill.compression.cost import CostModel
from kdistill.compression.insert import compactors
from kdistill.compression.paths import ChannelPath
from kdistill.compression.select import choose

ROUNDS = 4


class ChannelSchedule(keras.callbacks.Callback):
    """Marks in rounds, evenly over the first half of a training, which columns of the compactors are kept.

    The target of the rounds falls in equal steps from the cost of the whole student to `target`. The second half is for
    the lasso to close the last ones. Rounds are counted by the optimizer's steps, so that a resumed training does those
    that are left.
    """

    def __init__(
        self,
        paths: Sequence[ChannelPath],
        cost: CostModel,
        target: int,
        importance: Callable[[keras.Model], dict[str, np.ndarray]],
        *,
        steps: int,
        cost_power: float,
    ) -> None:
        """Plans the rounds.

        Args:
            paths: of the student.
            cost: of the student.
            target: the cost that the last round leaves.
            importance: student with compactors -> producer -> float [C], asked anew in each round.
            steps: of the training.
            cost_power: of `choose`.
        """
        super().__init__()
        self.paths, self.cost, self.importance, self.cost_power = paths, cost, importance, cost_power
        whole = cost.total({path.producer: path.channels for path in paths})
        rounds = min(ROUNDS, max(1, steps // 2))
        self.targets = {
            (steps // 2) * number // rounds: whole - (whole - target) * (number + 1) // rounds
            for number in range(rounds)
        }

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Marks columns when a round is due."""
        step = int(np.asarray(self.model.optimizer.iterations))
        if step not in self.targets:
            return
        inserted = compactors(self.model.student, self.paths)
        kept = {name: np.asarray(compactor.kept) > 0 for name, compactor in inserted.items()}
        importance = self.importance(self.model.student)
        for name, mask in choose(importance, kept, self.cost, self.targets[step], self.cost_power).items():
            inserted[name].kept.assign(mask.astype(np.float32))


def lasso_of(steps: int) -> float:
    """Returns the step of the group lasso that closes a column of norm 1.25 in the half that follows the rounds."""
    return 1.25 / max(1, steps - steps // 2)


def close(student: keras.Model) -> list[float]:
    """Sets every column that is not kept to 0 and returns the norms of those that were not 0 yet."""
    left: list[float] = []
    for layer in student.layers:
        if hasattr(layer, "kept"):
            open_columns = (np.asarray(layer.kept) == 0) & (np.asarray(layer.norms()) > 0)
            left += np.asarray(layer.norms())[open_columns].tolist()
            layer.kernel.assign(np.asarray(layer.kernel) * np.asarray(layer.kept))
    return left
