"""Layers of students and of the joint space that they are trained in."""

from kdistill.layers.bank import EmbeddingBank
from kdistill.layers.compactor import Compactor
from kdistill.layers.gem import GeM
from kdistill.layers.hash_head import HashHead
from kdistill.layers.interpolation import JointSpaceInterpolation
from kdistill.layers.pairs import pair_mask
from kdistill.layers.synchronised_norm import SynchronisedBatchNormalization

__all__ = [
    "Compactor",
    "EmbeddingBank",
    "GeM",
    "HashHead",
    "JointSpaceInterpolation",
    "SynchronisedBatchNormalization",
    "pair_mask",
]
