"""Distil a black-box image-retrieval model into a small one that searches on the device."""
