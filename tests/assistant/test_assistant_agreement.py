"""Agreement with held-out answers tells features that know what the teacher means from features that do not."""

import numpy as np
import pytest

from kdistill.assistant.agreement import cross_validated_overlap


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.long
def test_features_of_the_teacher_beat_noisy_ones_and_those_beat_chance():
    random = np.random.default_rng(0)
    answers = unit(random.normal(size=(60, 8)))
    noise = random.normal(size=(60, 24))
    found = [
        cross_validated_overlap(unit(np.concatenate([answers, strength * noise], axis=1)), answers)
        for strength in (0.02, 0.25, 100.0)
    ]
    # By chance 10 of the 59 others: 0.17.
    assert found[0] > 0.9
    assert found[0] > found[1] + 0.1 > found[2] + 0.2
    assert found[2] < 0.35


@pytest.mark.long
def test_it_repeats_itself_and_takes_very_few_answers():
    random = np.random.default_rng(1)
    features, answers = unit(random.normal(size=(6, 5))), unit(random.normal(size=(6, 3)))
    first, second = (cross_validated_overlap(features, answers, seed=4) for _ in range(2))
    assert first == second
    assert 0 <= first <= 1
