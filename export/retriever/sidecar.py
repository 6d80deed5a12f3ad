"""The JSON file beside a retriever: what its rows are called, and which file it belongs to."""

import dataclasses
import json
from pathlib import Path

from export.search.recall_bound import Measured, measured_of
from kdistill.errors import KdistillError
from kdistill.files.whole import json_text, read_bounded, sha256_of, write_whole

FORMAT = 1
RETRIEVER_KEY = "kdistill_retriever"
"""Name of the metadata entry by which a file says that it is a retriever."""

MAX_SIDECAR_BYTES = 256 << 20
"""A longer sidecar is refused: the names of ten million rows take this much."""


@dataclasses.dataclass(frozen=True)
class Sidecar:
    """Facts about a retriever file.

    Attributes:
        ids: names of the gallery's rows.
        k: neighbours in an answer.
        dimension: D.
        precision: of the stored gallery.
        buffers: which buffers of a .tflite file hold the gallery, by role.
        sha256: of the file.
        scanned: leading coordinates that the first pass of the search reads (see `first_pass.py`); None for all.
        measured: what the search of an int8 gallery was measured to find, and with which queries; None for others.
        probes: blocks of rows that a search of a very large gallery reads (see `lists.py`); None for all rows.
        batches: whether the search takes any number of queries at once; files of older versions take one.
        format: version of this layout.
    """

    ids: tuple[str, ...]
    k: int
    dimension: int
    precision: str
    buffers: dict[str, int]
    sha256: str
    scanned: int | None = None
    batches: bool = False
    measured: Measured | None = None
    probes: int | None = None
    format: int = FORMAT

    def write(self, path: Path | str) -> None:
        """Writes the sidecar of the retriever `path`, whole or not at all."""
        write_whole(sidecar_path(path), json_text(dataclasses.asdict(self)))

    def check_file(self, path: Path | str) -> None:
        """Compares the file with the checksum (about a second for a gigabyte).

        Raises:
            KdistillError: the file is missing or another one.
        """
        if not Path(path).is_file():
            raise KdistillError(f"retriever {path} does not exist")
        if sha256_of(path) != self.sha256:
            raise KdistillError(f"{path} and {sidecar_path(path)} do not belong together: the checksum differs")


def sidecar_path(path: Path | str) -> Path:
    """Returns the name of the JSON file that belongs to a retriever: NAME.json for NAME.tflite, else NAME.onnx.json."""
    path = Path(path)
    return path.with_suffix(".json") if path.suffix == ".tflite" else path.with_name(f"{path.name}.json")


def read_sidecar(path: Path | str) -> Sidecar:
    """Returns the sidecar of the retriever `path`.

    Raises:
        KdistillError: it is missing, damaged, or of a later layout.
    """
    file = sidecar_path(path)
    try:
        content = json.loads(read_bounded(file, MAX_SIDECAR_BYTES))
        if content["format"] != FORMAT:
            raise KdistillError(f"the sidecar {file} has the layout {content['format']}, this program reads {FORMAT}")
        sidecar = Sidecar(**{**content, "ids": tuple(content["ids"]), "measured": measured_of(content.get("measured"))})
        numbers = (sidecar.k, sidecar.dimension, *sidecar.buffers.values())
        texts = (sidecar.precision, sidecar.sha256, *sidecar.ids)
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError("a number is no positive integer")
        if sidecar.scanned is not None and sidecar.scanned not in range(1, sidecar.dimension):
            raise ValueError("the scanned coordinates are not a part of all")
        if sidecar.probes is not None and (type(sidecar.probes) is not int or sidecar.probes < 1):
            raise ValueError("the blocks that are read are no positive integer")
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a name is no text")
        return sidecar
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KdistillError(f"the sidecar {file} is damaged: {error}") from error
