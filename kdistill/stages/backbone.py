"""Networks that a user brings as student or assistant: what may be in them, what tells one from another."""

import importlib.metadata
from pathlib import Path

from kdistill.console.imports import source_of
from kdistill.facts.brought import HUB_PACKAGE, is_brought, kind_of, packages_of, preset_of
from kdistill.files.whole import sha256_of
from kdistill.runtimes.digest import model_digest
from kdistill.settings import Settings
from kdistill.settings.groups.student import StudentSettings


def trusted_packages(settings: Settings) -> tuple[str, ...]:
    """Returns the packages besides Keras whose classes the run's networks may be made of."""
    networks = (settings.student.backbone, settings.assistant.assistant_backbone or "")
    return (*settings.teacher.trust_packages, *(name for network in networks for name in packages_of(network)))


def backbone_digest(backbone: str) -> str:
    """Returns what tells a network that a user brings from another of the same name, "" for one known by name.

    Of a file or a preset's folder it is the content, of a preset by name the version of KerasHub, which says what it
    stands for, and of a function the file of its module; what that imports from elsewhere does not count. Nothing of
    it is run.

    Raises:
        KdistillError: unreadable.
    """
    kind = kind_of(backbone)
    if kind == "file":
        return model_digest(backbone)[:16]
    if kind == "kerashub":
        folder = Path(preset_of(backbone))
        if folder.is_dir():
            return model_digest(folder)[:16]
        return f"{HUB_PACKAGE} {importlib.metadata.version('keras-hub')}"
    source = source_of(backbone.partition(":")[0]) if kind == "function" else None
    return "" if source is None else sha256_of(source)[:16]


def named_backbone(backbone: str) -> str:
    """Returns a backbone as people are told of it: one that the user brings without the folder that it lies in."""
    kind = kind_of(backbone)
    if kind == "kerashub":
        return f"KerasHub, {Path(preset_of(backbone)).name}"
    return Path(backbone).name if kind == "file" else backbone


def described_backbone(student: StudentSettings) -> str:
    """Returns a student's backbone as people are told of it, with its width where it has one to choose."""
    name = named_backbone(student.backbone)
    return name if is_brought(student.backbone) else f"{name}, width {student.alpha:g}"
