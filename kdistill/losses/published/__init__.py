"""Losses of other publications, in the same joint space and trainer."""
