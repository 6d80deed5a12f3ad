"""Deployment: files of a student, the retriever, the gate, other tools, the search page, what is handed over."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.publish.opening import Published


def load(folder: Any, **options: Any) -> "Published":
    """Opens what `python -m export publish` wrote, on any machine with a runtime for its files; see `Published`.

    Examples:
        >>> student = export.load("handed_over")
        >>> student.embed("photo.jpg") @ student.embed("other.jpg")  # the cosine
        >>> student.search("photo.jpg")  # the nearest photos of the published gallery
    """
    from export.publish.opening import Published

    return Published(folder, **options)
