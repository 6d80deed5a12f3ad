"""Two files of one retriever: one embeds, one searches, so that each can run where it runs best."""

from pathlib import Path

from export.formats.flatbuffer import write_model
from export.retriever.build import empty_model, write_retriever
from export.retriever.update import read_retriever
from kdistill.errors import KdistillError
from kdistill.files.whole import whole_file


def take_apart(source: Path | str, folder: Path | str) -> tuple[Path, Path]:
    """Writes `embed` and `search` with the suffix of a retriever, the second with its sidecar; answers stay the same.

    `embed` takes an image and gives its embedding (an accelerator may run it); `search` takes an embedding and gives
    scores and rows, as a retriever without a student does.

    Args:
        source: a retriever of either format that holds a student.
        folder: where both go; made when missing.

    Returns:
        The two files.

    Raises:
        KdistillError: no retriever of ours, or one without a student.
    """
    student, gallery, sidecar = read_retriever(source)
    folder, suffix = Path(folder), Path(source).suffix
    if student is None or (suffix == ".tflite" and not student.subgraphs):
        raise KdistillError(f"{source} holds no student: it searches embeddings alone already")
    folder.mkdir(parents=True, exist_ok=True)
    embed, search = folder / f"embed{suffix}", folder / f"search{suffix}"
    if suffix == ".onnx":
        from export.retriever.onnx_retriever import write_onnx_retriever  # onnx, needed for these files only

        with whole_file(embed) as temporary:
            temporary.write_bytes(student.SerializeToString())
        write_onnx_retriever(None, gallery, search, k=sidecar.k)
    else:
        write_model(student, embed)
        write_retriever(empty_model(), gallery, search, k=sidecar.k)
    return embed, search
