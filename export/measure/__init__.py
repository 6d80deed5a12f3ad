"""Latency and memory of the files of a run."""
