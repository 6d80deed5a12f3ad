"""Training: the distiller, its callbacks and optimizers, and several devices."""
