"""What the images of an embedding job were when they were embedded, so that a later run notices what has changed.

A file is known by its size and the time of its last change, pixels in memory by their hash: reading a million photos
again to compare them would take as long as embedding them.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from kdistill.data.images import Image, ImageSet
from kdistill.errors import KdistillError
from kdistill.files.whole import write_whole


@dataclasses.dataclass(frozen=True)
class Contents:
    """The images of a shard, in order.

    Attributes:
        ids: their names.
        stamps: one text an image; another text means another content.
    """

    ids: tuple[str, ...]
    stamps: tuple[str, ...]

    @classmethod
    def of(cls, images: Sequence[Image]) -> "Contents":
        """Returns those of the images as they are now."""
        return cls(tuple(image.id for image in images), tuple(_stamp(image) for image in images))

    @classmethod
    def read(cls, path: Path) -> "Contents":
        """Returns those in a file; none where there is no file.

        Raises:
            KdistillError: the file is damaged.
        """
        if not path.exists():
            return cls((), ())
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            ids, stamps = tuple(map(str, content["ids"])), tuple(map(str, content["stamps"]))
            if len(ids) != len(stamps):
                raise ValueError("it has not one stamp an image")
            return cls(ids, stamps)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise KdistillError(f"the list of images {path} is damaged: {error}") from error

    def write(self, path: Path) -> None:
        """Writes them, whole or not at all."""
        write_whole(path, json.dumps({"ids": self.ids, "stamps": self.stamps}))

    def unchanged_before(self, other: "Contents", stop: int) -> int:
        """Returns how many images at the start, at most `stop`, are the same in both."""
        pairs = zip(zip(self.ids, self.stamps, strict=True), zip(other.ids, other.stamps, strict=True), strict=False)
        same = 0
        for mine, theirs in pairs:
            if mine != theirs or same == stop:
                break
            same += 1
        return same

    def changes(self, now: "Contents") -> str:
        """Returns what has changed up to `now`, in words."""
        before, after = (dict(zip(each.ids, each.stamps, strict=True)) for each in (self, now))
        replaced = sum(1 for name, stamp in after.items() if name in before and before[name] != stamp)
        counts = {
            "replaced": replaced,
            "added": len(after.keys() - before.keys()),
            "removed": len(before.keys() - after.keys()),
        }
        told = [f"{count} {word}" for word, count in counts.items() if count]
        return ", ".join(told) or "their order is another"


def names_digest(images: ImageSet) -> str:
    """Returns a hash of the names of all images of all shards: by it shards know that they belong together."""
    return hashlib.sha256("\n".join(images.ids).encode("utf-8", "surrogateescape")).hexdigest()


def _stamp(image: Image) -> str:
    if image.path is None:
        return image.content_hash()
    try:
        about = image.path.stat()
    except OSError as error:
        return f"unreadable: {error.strerror}"
    except ValueError:  # a name with a zero byte
        return "unreadable"
    return f"{about.st_size} {about.st_mtime_ns} {image.box or ''}".strip()
