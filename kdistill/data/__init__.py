"""Image sources: everything that turns files into ids, pixels and labels."""

from kdistill.data.images import Image, ImageSet, LoadedImages, UnreadableImage, decode, load_pixels, resize

__all__ = ["Image", "ImageSet", "LoadedImages", "UnreadableImage", "decode", "load_pixels", "resize"]
