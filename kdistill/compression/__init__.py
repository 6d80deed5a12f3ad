"""A student that starts large and shrinks: compactors in, channels given up, compactors out."""

from kdistill.compression.cost import CostModel, count_flops
from kdistill.compression.importance import by_loss, by_neighbours, by_output
from kdistill.compression.insert import compactors, insert_compactors
from kdistill.compression.merge import merge
from kdistill.compression.paths import ChannelPath, channel_paths
from kdistill.compression.plan import Compaction, Phase, phases_of
from kdistill.compression.refit import refit
from kdistill.compression.schedule import ChannelSchedule, close, lasso_of
from kdistill.compression.select import absolute, choose
from kdistill.compression.trainer import CapacityDistiller
from kdistill.compression.training import Recipe, train_to_target
from kdistill.facts.joint_space import IMPORTANCES

__all__ = [
    "IMPORTANCES",
    "CapacityDistiller",
    "ChannelPath",
    "ChannelSchedule",
    "Compaction",
    "CostModel",
    "Phase",
    "Recipe",
    "absolute",
    "by_loss",
    "by_neighbours",
    "by_output",
    "channel_paths",
    "choose",
    "close",
    "compactors",
    "count_flops",
    "insert_compactors",
    "lasso_of",
    "merge",
    "phases_of",
    "refit",
    "train_to_target",
]
