"""A student in the teacher's own space, against what was published for it."""
