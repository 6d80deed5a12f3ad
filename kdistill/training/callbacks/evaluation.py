"""Retrieval quality while training, in the logs for the callbacks behind it."""

import keras
import numpy as np

from kdistill import students
from kdistill.data.images import resize
from kdistill.errors import KdistillError
from kdistill.evaluation import evaluate_leave_one_out, evaluate_query_gallery
from kdistill.evaluation.held_out import held_out_agreement
from kdistill.runtimes.image_model import Run
from kdistill.runtimes.keras_models.keras_model import as_function


class RetrievalEvaluation(keras.callbacks.Callback):
    """Adds `val_map` and `val_recall_at_1` to the logs at the end of an epoch, or `val_overlap_at_10` without labels.

    With queries it searches the gallery for them, without it searches the gallery leave-one-out. Without labels it
    compares neighbours with those by the teacher's answers for the gallery, photos that the student must not learn
    from; `val_first_in_10` and `val_kendall_tau_10` stand beside. Place it before EarlyStopping, ModelCheckpoint and
    TensorBoard, so that they find the values (`mode="max"`).
    """

    def __init__(
        self,
        gallery: np.ndarray,
        gallery_labels: np.ndarray | None = None,
        queries: np.ndarray | None = None,
        query_labels: np.ndarray | None = None,
        every: int = 1,
        batch_size: int = 32,
        *,
        teacher: np.ndarray | None = None,
        searched: np.ndarray | None = None,
        turn: np.ndarray | None = None,
    ) -> None:
        """Keeps images uint8 [n, H, W, 3], resized to the student's input, and labels int [n].

        Args:
            gallery: the images that are searched.
            gallery_labels: int [G]; None where `teacher` judges.
            queries: the images that search, or None for leave-one-out.
            query_labels: int [Q].
            every: evaluate at every so many epochs, and at the last.
            batch_size: images a forward pass.
            teacher: float [G, Dt], the teacher's answers for the gallery.
            searched: float [G, Ds], what the student's embeddings search where it is not themselves: the same answers,
                in the space that it embeds into.
            turn: float [Ds, Ds], what embeddings are multiplied by before they search these; None for nothing.

        Raises:
            KdistillError: neither labels nor answers, both, or queries without labels.
        """
        super().__init__()
        if (gallery_labels is None) == (teacher is None):
            raise KdistillError("RetrievalEvaluation judges by labels or by the teacher's answers: give one of them")
        if teacher is not None and queries is not None:
            raise KdistillError("by the teacher's answers RetrievalEvaluation judges a gallery leave-one-out")
        if searched is not None and teacher is None:
            raise KdistillError("what is searched is judged by the teacher's answers: give them, too")
        if (queries is None) != (query_labels is None):
            raise KdistillError("RetrievalEvaluation takes queries and query_labels together, or neither")
        self.gallery, self.teacher, self.searched, self.turn = gallery, teacher, searched, turn
        self.gallery_labels = None if gallery_labels is None else np.asarray(gallery_labels)
        self.queries, self.query_labels = queries, query_labels
        self.every, self.batch_size = every, batch_size
        self._compiled: tuple[keras.Model, Run] | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Evaluates and writes into `logs`."""
        if (epoch + 1) % self.every and epoch + 1 != self.params["epochs"]:
            return
        student = getattr(self.model, "student", self.model)
        gallery = self._embed(student, self.gallery)
        if self.gallery_labels is None:
            assert self.teacher is not None
            turned = gallery if self.turn is None else gallery @ self.turn
            pair = (gallery, None) if self.searched is None else (self.searched, turned)
            found = held_out_agreement(pair[0], self.teacher, pair[1]).as_dict()
            if logs is not None:
                logs.update({f"val_{name}": found[name] for name in ("overlap_at_10", "first_in_10", "kendall_tau_10")})
            return
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
        if self._compiled is None or self._compiled[0] is not student:
            self._compiled = student, as_function(student)
        embed = self._compiled[1]
        batches = (images[start : start + self.batch_size] for start in range(0, len(images), self.batch_size))
        return np.concatenate([embed(np.stack([resize(image, size) for image in batch])) for batch in batches])
