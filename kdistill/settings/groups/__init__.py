"""The groups of settings: what most people read first."""
