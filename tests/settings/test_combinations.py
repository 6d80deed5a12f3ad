"""Settings that cannot be together are refused before anything is asked, in a sentence that names them all."""

import math

import pytest

from kdistill.errors import ArgumentError
from kdistill.settings import Settings
from kdistill.settings.checks import check, check_gallery
from kdistill.settings.training_checks import SMALLEST_BATCH_OF_ORDERS

FUNCTION = {"teacher": "os:getcwd"}
ORDER = {"teacher_answers": "order"}
RERANK = {
    "teacher": "https://host/rerank",
    "teacher_api": "jina_rerank",
    "teacher_model": "m",
    "teacher_headers": ("Authorization=PATH",),
    **ORDER,
}

TOGETHER = [
    ({"freeze_batch_norm": True}, ["freeze_batch_norm", "student_weights"]),
    ({"gallery_precision": "binary"}, ["gallery_precision", "hash_bits"]),
    ({"gallery_precision": "asymmetric"}, ["gallery_precision", "hash_bits"]),
    ({**FUNCTION, **ORDER, "score_teacher": "yes", "scoring_budget": 9}, ["score_teacher", "teacher_answers"]),
    ({**FUNCTION, **ORDER, "strategy": "mirrored"}, ["strategy", "teacher_answers", "assistant_backbone"]),
    ({**FUNCTION, **ORDER, "target_flops": 0.5}, ["target_flops", "teacher_answers", "assistant_backbone"]),
    ({**FUNCTION, **ORDER, "batch_size": 5}, ["batch_size", "teacher_answers"]),
    ({**RERANK, "teacher_answers": "vectors"}, ["teacher_api", "teacher_answers"]),
    ({**RERANK, "requests_per_minute": 5.0, "engine": "ray"}, ["requests_per_minute", "engine"]),
    ({**RERANK, "score_teacher": "yes", "scoring_budget": 9}, ["score_teacher", "teacher_answers"]),
    ({"teacher": "http://host/x", "teacher_api": "vllm"}, ["teacher_api", "teacher_model"]),
    ({"target_flops": 0.5, "steps": 2}, ["target_flops", "steps"]),
    ({"target_params": 0.5, "training_precision": "mixed_float16"}, ["target_params", "training_precision"]),
    ({"whiten": "pca", "whiten_dim": 129}, ["whiten_dim", "embedding_dim"]),
    ({"whiten": "pca", "whiten_dim": 64, "hash_bits": 32}, ["whiten_dim", "hash_bits"]),
    ({"backbone": "mobilenet_v2", "image_size": 31}, ["image_size", "backbone"]),
    ({"pooling": "cls"}, ["pooling", "backbone"]),
    ({"backbone": "math:sqrt", "student_weights": "imagenet"}, ["student_weights", "backbone"]),
    ({"backbone": "math:sqrt", "target_flops": 0.5}, ["target_flops", "backbone"]),
    ({"backbone": "mobilenet_v2", "alpha": 0.4, "student_weights": "imagenet"},
     ["alpha", "backbone", "student_weights"]),
    ({"steps": 10**9, "batch_size": 3}, ["steps", "batch_size"]),
    ({"batch_size": 1_000_000, "image_size": 4096, "steps": 9}, ["batch_size", "image_size"]),
    ({"bank_size": 10_000_000, "embedding_dim": 65_536}, ["bank_size"]),
    ({"bank_size": 10_000_000, "mixtures": 1_000_000, "anchors": "mixtures"}, ["batch_size", "mixtures", "bank_size"]),
]  # fmt: skip


@pytest.mark.parametrize(("values", "names"), TOGETHER)
def test_both_are_named(values, names):
    with pytest.raises(ArgumentError) as caught:
        check(Settings.of(**values))
    for name in names:
        assert f"--{name}" in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"gallery_precision": "binary", "hash_bits": 32},
        {**FUNCTION, **ORDER, "batch_size": SMALLEST_BATCH_OF_ORDERS},
        {**FUNCTION, **ORDER, "score_teacher": "auto"},
        RERANK,
        {"teacher": "digits", **ORDER, "score_teacher": "yes"},
        {"whiten": "pca", "whiten_dim": 128},
        # No bank, no mixtures where the loss ranks the batch alone: nothing of them takes memory.
        {"loss": "rkd", "bank_size": 10_000_000, "mixtures": 1_000_000},
    ],
)
def test_what_can_be_together_is_taken(values):
    check(Settings.of(**values))


@pytest.mark.parametrize(
    ("values", "images", "named"),
    [
        ({}, 0, "the gallery is empty"),
        ({}, 3, None),
        ({"top_k": 11}, 10, "--top_k=11, but the gallery has only 10"),
        ({"top_k": 11}, 11, None),
        ({"shards": 2}, 20, None),
        ({"shards": 2}, 19, "--shards=2 .* less than --top_k=10"),
        ({"shards": 4}, 3, "--shards=4"),
    ],
)
def test_the_gallery_can_give_what_is_asked_of_it(values, images, named):
    if named is None:
        check_gallery(Settings.of(**values), images)
        return
    with pytest.raises(ArgumentError, match=named):
        check_gallery(Settings.of(**values), images)


def test_memory_is_that_of_this_machine(monkeypatch):
    import os

    pages = {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 4 * 32 * 3 * 32**2}
    monkeypatch.setattr(os, "sysconf", pages.get)
    small = Settings.of(query_budget=1, mixtures=0, bank_size=0, steps=1)
    check(small)
    assert math.prod(pages.values()) == 4 * small.training.batch_size * 3 * small.student.image_size**2
    with pytest.raises(ArgumentError, match=r"^--batch_size=33 with --image_size=32: this takes .* GB"):
        check(small.changed(batch_size=33))
