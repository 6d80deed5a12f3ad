"""Rebuilds the expert teacher of the grocery runs from the public photos: a black box in the form of a table.

    python -m benchmarks.teachers.expert --data_dir=DIR --weights=imagenet --out=DIR/teacher_expert.npz --json=FILE

Average-pooled MobileNetV2 1.0 features, L2-normalised, then linear discriminant analysis on the labelled half of
`train.txt` that is not in `pool.txt`: the teacher knows classes from images that the student never sees.
"""

import argparse
from pathlib import Path

import numpy as np

from kdistill import students
from kdistill.data import ImageSet
from kdistill.data.layouts.lists import read_list
from kdistill.errors import run_command
from kdistill.evaluation import embed_images, evaluate_leave_one_out
from kdistill.files.whole import whole_file, write_json

SHRINKAGE = 0.3


def fit_expert(features: np.ndarray, labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Fits discriminant directions on labelled features and projects others onto them.

    Args:
        features: float32 [n, C], L2-normalised.
        labels: int [n].
        others: float32 [m, C], L2-normalised.

    Returns:
        float32 [m, classes - 1], L2-normalised.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    analysis = LinearDiscriminantAnalysis(solver="eigen", shrinkage=SHRINKAGE).fit(features, labels)
    projected = analysis.transform(others)
    return (projected / np.linalg.norm(projected, axis=1, keepdims=True)).astype(np.float32)


def build_table(data_dir: Path, weights: str, image_size: int) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Returns ids [m], embeddings float32 [m, classes - 1] of pool, val and test, and the teacher's own quality.

    Args:
        data_dir: folder with train.txt, pool.txt, val.txt, test.txt and the photos.
        weights: of MobileNetV2 1.0 without its top: "imagenet" or a `.weights.h5` file.
        image_size: side in pixels.
    """
    train = read_list(data_dir, "train.txt", labelled=True)
    pool = read_list(data_dir, "pool.txt", labelled=False)
    val, test = (read_list(data_dir, f"{name}.txt", labelled=True) for name in ("val", "test"))
    asked = set(pool.ids)
    private = train.subset([index for index, name in enumerate(train.ids) if name not in asked])
    backbone = students.build("mobilenet_v2", alpha=1.0, image_size=image_size, embedding_dim=None, weights=weights)
    roles = {"private": private, "pool": pool, "val": val, "test": test}
    features = {
        name: embed_images(backbone, images, image_size=image_size, strict=True, description=name).embeddings
        for name, images in roles.items()
    }
    others = np.concatenate([features[name] for name in ("pool", "val", "test")])
    embeddings = fit_expert(features["private"], np.asarray(private.labels), others)
    ids = np.array([*pool.ids, *val.ids, *test.ids])
    scores = evaluate_leave_one_out(embeddings[-len(test) :], _labels(test)).as_dict()
    return ids, embeddings, {"map": scores["map"], "recall_at_1": scores["recall_at_1"]}


def _labels(images: ImageSet) -> np.ndarray:
    return np.asarray(images.labels)


def main() -> None:
    """Writes the table and prints the teacher's quality on test.txt."""
    parser = argparse.ArgumentParser(description="Rebuild the expert teacher of the grocery runs.")
    parser.add_argument("--data_dir", type=Path, required=True, help="folder of the Grocery Store Dataset")
    parser.add_argument("--weights", default="imagenet", help="of MobileNetV2 1.0: imagenet or a .weights.h5 file")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--out", type=Path, required=True, help="the table to write (.npz)")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    ids, embeddings, figures = build_table(arguments.data_dir, arguments.weights, arguments.image_size)
    with whole_file(arguments.out) as temporary, temporary.open("wb") as file:
        np.savez(file, ids=ids, embeddings=embeddings)
    print(f"{arguments.out}: {len(ids)} x {embeddings.shape[1]}, leave-one-out on test.txt: {figures}")
    if arguments.json:
        write_json(arguments.json, {"figures": figures, "rows": len(ids)})


if __name__ == "__main__":
    run_command(main)
