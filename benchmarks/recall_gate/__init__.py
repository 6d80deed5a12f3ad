"""Whether the recall that a build promises holds for queries from outside the gallery."""
