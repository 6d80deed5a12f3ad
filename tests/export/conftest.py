"""The small trained-looking student that the tests of exported files share."""

from trained_student import embeddings, labels, pixels, student

__all__ = ["embeddings", "labels", "pixels", "student"]
