"""The choice of channels: against a loop that tries every channel, and its laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdistill import students
from kdistill.compression import CostModel, channel_paths, choose
from kdistill.compression.select import LEAST
from kdistill.errors import KdistillError

STUDENT = students.build("small_cnn", alpha=0.5, image_size=16, embedding_dim=6)
PATHS = channel_paths(STUDENT)
COST = CostModel(STUDENT, PATHS, "flops")
ALL = {path.producer: np.ones(path.channels, bool) for path in PATHS}
WHOLE = COST.total({path.producer: path.channels for path in PATHS})


def _cost(mask):
    return COST.total({name: int(stays.sum()) for name, stays in mask.items()})


def _naive(importance, target, power):
    mask = {name: stays.copy() for name, stays in ALL.items()}
    while _cost(mask) > target:
        candidates = []
        for name, stays in mask.items():
            for channel in np.flatnonzero(stays):
                if stays.sum() > LEAST and importance[name][channel] == importance[name][stays].min():
                    without = {**mask, name: stays & (np.arange(len(stays)) != channel)}
                    saved = _cost(mask) - _cost(without)
                    candidates.append((importance[name][channel] / saved**power, without))
        mask = min(candidates, key=lambda candidate: candidate[0])[1]
    return mask


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_it_is_the_greedy_choice(power):
    rng = np.random.default_rng(3)
    importance = {path.producer: rng.random(path.channels) for path in PATHS}
    chosen = choose(importance, ALL, COST, WHOLE // 2, power)
    expected = _naive(importance, WHOLE // 2, power)
    assert all((chosen[name] == expected[name]).all() for name in ALL)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.2, 1), st.floats(0, 1))
def test_the_target_is_met_and_what_is_gone_stays_gone(seed, share, power):
    rng = np.random.default_rng(seed)
    importance = {path.producer: rng.random(path.channels) for path in PATHS}
    first = choose(importance, ALL, COST, int(WHOLE * (1 + share) / 2), power)
    second = choose(
        {name: rng.random(len(v)) for name, v in importance.items()}, first, COST, int(WHOLE * share), power
    )
    assert _cost(second) <= int(WHOLE * share)
    assert all((second[name] <= first[name]).all() and second[name].sum() >= LEAST for name in ALL)
    # Not further than needed: the last channel that went cost more than the room that is left.
    assert int(WHOLE * share) - _cost(second) < max(COST.saving({n: v.sum() for n, v in ALL.items()}, n) for n in ALL)


def test_a_target_that_cannot_be_met_is_refused():
    with pytest.raises(KdistillError, match="cannot be met: with 4 channels"):
        choose({name: np.ones(len(stays)) for name, stays in ALL.items()}, ALL, COST, 10, 0.0)
