"""The retriever: student and gallery in one file, its builder and its client."""

from export.retriever.client import Retriever

__all__ = ["Retriever"]
