"""Image sources: everything that turns files into ids, pixels and labels."""

from kdistill.data.images import Image, ImageSet, LoadedImages, UnreadableImage, decode, load_pixels, resize
from kdistill.data.retrieval_data import RetrievalData

__all__ = [
    "Image",
    "ImageSet",
    "LoadedImages",
    "RetrievalData",
    "UnreadableImage",
    "decode",
    "load_pixels",
    "resize",
]
