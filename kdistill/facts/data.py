"""Which kinds of data there are."""

DATASETS = ("digits", "folder", "lists", "revisited")

ROLES = ("gallery", "pool")
"""Sub-folders that give photos their roles; a folder with neither is a catalogue, all of it."""


def kind_of(dataset: str, data_dir: str | None) -> str:
    """Returns which of DATASETS is meant; "auto" is the embedded data without a folder, else a folder of photos."""
    if dataset != "auto":
        return dataset
    return "digits" if data_dir is None else "folder"
