"""The small trained-looking student that is given to other runtimes."""

from trained_student import embeddings, labels, pixels, student

__all__ = ["embeddings", "labels", "pixels", "student"]
