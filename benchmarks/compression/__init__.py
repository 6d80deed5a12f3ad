"""A student that shrinks, against one that was small from the start."""
