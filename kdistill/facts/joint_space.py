"""The words that choose how the joint space is made, over which rows it ranks, and how a student shrinks."""

DISTRIBUTIONS = ("uniform", "beta", "fixed")
"""Of λ."""
PAIRINGS = ("random", "teacher_knn", "far")
"""Which rows are mixed."""
ROLES = ("originals", "mixtures", "both")
"""The rows that rank (anchors) or are ranked (gallery)."""
BANK_ROLES = ("gallery", "anchors", "both")
STRATEGIES = ("none", "mirrored", "multiworker")
JOINT_SPACES = ("global", "replica")
"""Rank over the rows of all replicas, or of each one alone."""
IMPORTANCES = ("neighbours", "loss", "output")
"""What says which channels of a student that shrinks matter."""
