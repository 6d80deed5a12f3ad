"""What may follow the student in an evaluation: several input scales, whitening, fewer dimensions."""

import keras
import numpy as np

from kdistill.data import ImageSet, RetrievalData
from kdistill.data.layouts.folder import find_images
from kdistill.errors import ArgumentError
from kdistill.evaluation.multiscale import embed_multiscale
from kdistill.evaluation.whitening import Whitening, fit_learned_whitening, fit_whitening, matching_pairs
from kdistill.settings import Settings
from kdistill.settings.groups.evaluation import EvaluationSettings
from kdistill.stages.judging.judge import Judge, Vectors


def row_name(settings: EvaluationSettings) -> str | None:
    """Returns the name of the postprocessed student's row, or None when the settings ask for none."""
    parts = ["multiscale"] * (settings.scales != (1.0,)) + ["whitened"] * (settings.whiten != "none")
    return "student_" + "_".join(parts) if parts else None


def postprocessed(student: keras.Model, judge: Judge, settings: Settings) -> Vectors:
    """Embeds at all scales and applies a whitening that was fitted on other images than those that are judged.

    PCA whitening is fitted on the images of --whiten_dir, or on the pool; learned whitening on pairs of images of one
    class of --whiten_dir, or of the validation images.

    Raises:
        ArgumentError: learned whitening without labelled images, or more dimensions than the student has.
    """

    def embed(images: ImageSet, role: str) -> np.ndarray:
        return embed_multiscale(
            student, images, scales=settings.evaluation.scales, strict=True, description=f"student, {role}"
        ).embeddings

    vectors = judge.embed(embed)
    if settings.evaluation.whiten == "none":
        return vectors
    whitening = _whitening(student, judge.data, settings)
    queries = None if vectors.queries is None else whitening.transform(vectors.queries)
    return Vectors(whitening.transform(vectors.gallery), queries)


def _whitening(student: keras.Model, data: RetrievalData, settings: Settings) -> Whitening:
    evaluation = settings.evaluation
    learned = evaluation.whiten == "learned"
    images: ImageSet | None = data.validation if learned else data.pool
    if evaluation.whiten_dir is not None:
        images = find_images(evaluation.whiten_dir, labelled=learned, max_megapixels=settings.data.max_megapixels)
    if images is None:
        raise ArgumentError("--whiten=learned needs labelled images: --whiten_dir=DIR with DIR/CLASS/*, or --val_file")
    embedded = embed_multiscale(
        student, images, scales=evaluation.scales, strict=settings.run.strict, description="images for whitening"
    )
    dimension = evaluation.whiten_dim or None
    if not learned:
        return fit_whitening(embedded.embeddings, dimension=dimension, shrinkage=evaluation.whiten_shrinkage)
    pairs = matching_pairs(np.asarray(images.labels)[embedded.indices], seed=settings.run.seed)
    return fit_learned_whitening(embedded.embeddings, pairs, dimension=dimension, shrinkage=evaluation.whiten_shrinkage)
