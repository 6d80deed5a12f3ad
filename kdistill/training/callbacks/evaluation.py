"""Retrieval quality while training, in the logs for the callbacks behind it."""

import keras
import numpy as np

from kdistill import students
from kdistill.data.images import resize
from kdistill.errors import KdistillError
from kdistill.evaluation import evaluate_leave_one_out, evaluate_query_gallery


class RetrievalEvaluation(keras.callbacks.Callback):
    """Adds `val_map` and `val_recall_at_1` to the logs at the end of an epoch.

    With queries it searches the gallery for them, without it searches the gallery leave-one-out. Place it before
    EarlyStopping, ModelCheckpoint and TensorBoard, so that they find the values (`mode="max"`).
    """

    def __init__(
        self,
        gallery: np.ndarray,
        gallery_labels: np.ndarray,
        queries: np.ndarray | None = None,
        query_labels: np.ndarray | None = None,
        every: int = 1,
        batch_size: int = 64,
    ) -> None:
        """Keeps images uint8 [n, H, W, 3], resized to the student's input, and labels int [n].

        Args:
            gallery: the images that are searched.
            gallery_labels: int [G].
            queries: the images that search, or None for leave-one-out.
            query_labels: int [Q].
            every: evaluate at every so many epochs, and at the last.
            batch_size: images a forward pass.
        """
        super().__init__()
        if (queries is None) != (query_labels is None):
            raise KdistillError("RetrievalEvaluation takes queries and query_labels together, or neither")
        self.gallery, self.gallery_labels = gallery, np.asarray(gallery_labels)
        self.queries, self.query_labels = queries, query_labels
        self.every, self.batch_size = every, batch_size

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Evaluates and writes into `logs`."""
        if (epoch + 1) % self.every and epoch + 1 != self.params["epochs"]:
            return
        student = getattr(self.model, "student", self.model)
        gallery = self._embed(student, self.gallery)
        if self.queries is None or self.query_labels is None:
            scores = evaluate_leave_one_out(gallery, self.gallery_labels)
        else:
            queries = self._embed(student, self.queries)
            scores = evaluate_query_gallery(queries, gallery, self.query_labels, self.gallery_labels)
        values = scores.as_dict()
        if logs is not None:
            logs["val_map"], logs["val_recall_at_1"] = values["map"], values["recall_at_1"]

    def _embed(self, student: keras.Model, images: np.ndarray) -> np.ndarray:
        size = students.image_size(student)
        batches = (images[start : start + self.batch_size] for start in range(0, len(images), self.batch_size))
        return np.concatenate(
            [student(np.stack([resize(image, size) for image in batch]), training=False).numpy() for batch in batches]
        )
