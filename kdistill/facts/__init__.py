"""What exists by name and what it takes: students, losses, optimizers, the joint space. No TensorFlow is imported here.

So settings can be checked, and help be written, in milliseconds. The rooms themselves check by the same facts.
"""
