"""Settings of the images."""

import dataclasses
from typing import Literal

from kdistill.facts.data import kind_of
from kdistill.settings.setting import setting


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Which images there are to learn from and to be judged by."""

    dataset: Literal["auto", "digits", "folder", "lists", "revisited"] = setting(
        "auto",
        "digits (embedded), folder (photos; DIR/gallery and DIR/pool where there are roles), lists (files of "
        "`path, label`), revisited, or auto: folder with --data_dir, digits without.",
        common=True,
    )
    data_dir: str | None = setting(None, "Folder of the images.", common=True)
    pool_file: str | None = setting(
        None,
        "lists: file in --data_dir that names the images that the student may learn from; empty: pool.txt, or the "
        "gallery's own images where there is none.",
    )
    gallery_file: str = setting(
        "test.txt", "lists: file that names the images that are searched; labels, where it has some, judge."
    )
    query_file: str | None = setting(
        None, "lists: file that names the images that search; empty: leave-one-out over the gallery."
    )
    val_file: str | None = setting(
        None, "lists: file of labelled images on which training is watched (never chosen by)."
    )
    gnd_file: str | None = setting(None, "revisited: the ground truth in --data_dir; empty: its only gnd_*.pkl.")
    max_megapixels: float = setting(
        64.0,
        "Photos of more than so many million pixels are refused before they are decoded; phones have up to 200.",
        above=0,
        high=10_000,
    )
    pool_dir: str | None = setting(
        None, "revisited: folder of unlabelled images to learn from; empty: the gallery's own images."
    )
    distractor_dir: str | None = setting(None, "revisited: folder of further gallery images.")

    @property
    def kind(self) -> str:
        """What `dataset` means beside `data_dir`."""
        return kind_of(self.dataset, self.data_dir)
