"""The stage `distill`: what the student learns from, and its training."""
