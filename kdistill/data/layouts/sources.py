"""One door to all data sources."""

from kdistill.data.decoding import MAX_MEGAPIXELS
from kdistill.data.retrieval_data import RetrievalData
from kdistill.errors import ArgumentError
from kdistill.facts.data import DATASETS, kind_of


def open_data(
    dataset: str,
    *,
    data_dir: str | None = None,
    pool_file: str | None = None,
    gallery_file: str = "test.txt",
    query_file: str | None = None,
    val_file: str | None = None,
    gnd_file: str | None = None,
    pool_dir: str | None = None,
    distractor_dir: str | None = None,
    seed: int = 0,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> RetrievalData:
    """Opens a data set by its kind; no image is read yet.

    Args:
        dataset: one of DATASETS, or "auto" (see `kind_of`).
        data_dir: the folder of all kinds but digits.
        pool_file: lists: the images that the student may learn from; None: pool.txt, or the gallery without one.
        gallery_file: lists: the images that are searched.
        query_file: lists: the images that search, or None for leave-one-out.
        val_file: lists: labelled images for choosing settings, or None.
        gnd_file: revisited: the ground truth inside data_dir; None finds the only `gnd_*.pkl`.
        pool_dir: revisited: a folder of unlabelled images to learn from; None: the gallery's own.
        distractor_dir: revisited: a folder of further gallery images that are relevant to nothing.
        seed: digits: of the split.
        max_megapixels: all kinds but digits: files of more than so many million pixels are refused when they are read.

    Raises:
        ArgumentError: an unknown kind, a missing folder name, or a limit that is not above 0.
        KdistillError: what the folder lacks.
    """
    dataset = kind_of(dataset, data_dir)
    if dataset not in DATASETS:
        raise ArgumentError(f"data set {dataset!r} is unknown; choose one of {', '.join(DATASETS)}")
    if not max_megapixels > 0:
        raise ArgumentError(f"--max_megapixels={max_megapixels:g} must be above 0")
    if dataset == "digits":
        from kdistill.data.digits import digits_data

        return digits_data(seed)
    if data_dir is None:
        raise ArgumentError(f"--dataset={dataset} needs --data_dir, the folder of its images")
    if dataset == "folder":
        from kdistill.data.layouts.folder import folder_data

        return folder_data(data_dir, max_megapixels=max_megapixels)
    if dataset == "lists":
        from kdistill.data.layouts.lists import list_data

        return list_data(
            data_dir,
            pool_file=pool_file,
            gallery_file=gallery_file,
            query_file=query_file,
            val_file=val_file,
            max_megapixels=max_megapixels,
        )
    from kdistill.data.layouts.revisited import revisited_data

    return revisited_data(
        data_dir,
        gnd_file=gnd_file,
        pool_dir=pool_dir,
        distractor_dir=distractor_dir,
        max_megapixels=max_megapixels,
    )
