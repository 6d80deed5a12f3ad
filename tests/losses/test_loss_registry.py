"""Losses by name: what exists, what each needs, what is refused; and their life beyond this process."""

import json

import keras
import numpy as np
import pytest

from kdistill import losses
from kdistill.errors import ArgumentError

RNG = np.random.default_rng(0)
TEACHER, STUDENT = RNG.normal(size=(2, 5, 3)).astype("float32")
LABELS = np.array([0, 1, 0, 1, 2])

NEEDS = {
    "softmax_ranking": {"joint"},
    "list_mle": {"joint"},
    "pairwise_logistic": {"joint"},
    "rkd_distance": {"joint"},
    "gram": {"joint"},
    "regression": {"needs_equal_dims"},
    "rkd": set(),
    "pkt": set(),
    "similarity_preserving": set(),
    "darkrank": {"banks"},
    "csd": {"banks", "needs_equal_dims"},
    "seed": {"banks", "needs_equal_dims"},
    "raml": {"needs_equal_dims"},
    "contrastive": {"banks", "needs_labels"},
    "triplet_semihard": {"banks", "needs_labels"},
}


def targets(loss):
    return LABELS if loss.needs_labels else TEACHER


def test_every_name_gives_a_loss_that_says_what_it_needs():
    attributes = ("joint", "banks", "needs_labels", "needs_equal_dims")
    assert {
        name: {attribute for attribute in attributes if getattr(losses.get(name), attribute)} for name in losses.names()
    } == NEEDS


@pytest.mark.parametrize("name", losses.names())
def test_calling_as_keras_does_equals_calling_the_function(name):
    loss = losses.get(name)
    assert isinstance(loss, keras.losses.Loss)
    assert loss.name == name
    assert float(loss(targets(loss), STUDENT)) == pytest.approx(float(loss.call(targets(loss), STUDENT)), rel=1e-6)


def test_options_reach_the_function():
    loss = losses.get("softmax_ranking", teacher_temperature=0.5, student_temperature=0.7)
    expected = losses.softmax_ranking(TEACHER, STUDENT, teacher_temperature=0.5, student_temperature=0.7)
    assert float(loss.call(TEACHER, STUDENT)) == float(expected)


def test_a_fresh_process_rebuilds_every_loss_from_its_json(fresh):
    changed = {"softmax_ranking": {"teacher_temperature": 0.3}, "list_mle": {"top_k": 2}, "darkrank": {"form": "soft"}}
    ours = [losses.get(name, **changed.get(name, {})) for name in losses.names()]
    saved = json.dumps([keras.saving.serialize_keras_object(loss) for loss in ours])
    script = """
import json, sys
import keras, numpy as np
import kdistill.losses
data = json.loads(sys.argv[1])
values = []
for config in json.loads(data["losses"]):
    loss = keras.saving.deserialize_keras_object(config)
    targets = np.array(data["labels"]) if loss.needs_labels else np.array(data["teacher"], "float32")
    values.append(float(loss.call(targets, np.array(data["student"], "float32"))))
print(json.dumps(values))
"""
    given = {
        "losses": saved,
        "labels": LABELS.tolist(),
        "teacher": TEACHER.tolist(),
        "student": STUDENT.tolist(),
    }
    printed = fresh(script, json.dumps(given))
    expected = [float(loss.call(targets(loss), STUDENT)) for loss in ours]
    np.testing.assert_allclose(json.loads(printed.splitlines()[-1]), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("softmax", {}, "choose one of softmax_ranking"),
        ("softmax_ranking", {"temperature": 1.0}, "does not take these options"),
        ("softmax_ranking", {"teacher_temperature": 0.0}, "must be above 0"),
        ("softmax_ranking", {"similarity": "l2"}, "choose one of cosine, dot"),
        ("list_mle", {"top_k": 0}, "at least 1"),
        ("pairwise_logistic", {"offsets": 0}, "at least 1"),
        ("rkd", {"max_rows": 2}, "at least 3"),
        ("darkrank", {"beta": 0.5}, "at least 1"),
        ("darkrank", {"form": "soft", "top_k": 8}, "at most 6"),
        ("csd", {"top_k": 1}, "at least 2"),
        ("seed", {"teacher_temperature": 0}, "must be above 0"),
        ("contrastive", {"margin": -1.0}, "must be above 0"),
        ("gram", {"similarity": 1}, "similarity takes a word; 1 was given"),
        ("regression", {"normalise": "no"}, "normalise takes true or false; 'no' was given"),
        ("list_mle", {"top_k": 2.5}, "top_k takes a whole number; 2.5 was given"),
        ("list_mle", {"top_k": True}, "top_k takes a whole number; True was given"),
        ("raml", {"cross_weight": float("nan")}, "cross_weight takes a number; nan was given"),
        ("csd", {"student_temperature": float("inf")}, "student_temperature takes a number; inf was given"),
        ("rkd", {"angle_weight": -1}, "must be at least 0"),
        ("pairwise_logistic", {"offsets": 99}, "at most 30"),
        ("pkt", {"margin": 1.0}, "it takes none"),
        ("list_mle_of_orders", {}, "learns from orders alone"),
    ],
)
def test_mistakes_are_told_in_a_sentence(name, options, message):
    with pytest.raises(ArgumentError, match=message):
        losses.get(name, **options)
