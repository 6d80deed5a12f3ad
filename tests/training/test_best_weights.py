"""The best weights on the way: against a list of figures, through an interruption, at given steps alone."""

import keras
import numpy as np
import pytest

from kdistill.training.callbacks import BestWeights


@pytest.fixture
def student():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])


def train(student, file, figures, first_step=0, steps=None):
    """Takes one step an epoch; after step n the weights are all n."""
    best = BestWeights(student, file, steps=steps or range(1, 100))
    best.done = first_step
    best.set_params({"steps": 1})
    best.on_train_begin()
    for step in range(first_step + 1, len(figures) + 1):
        best.on_epoch_begin(step)
        student.set_weights([np.full_like(weight, step) for weight in student.get_weights()])
        best.on_train_batch_end(0)
        best.on_epoch_end(step, {"val_overlap_at_10": figures[step - 1]})
    return best


@pytest.mark.parametrize(("figures", "step"), [([0.1, 0.5, 0.4], 2), ([0.5, 0.5, 0.4], 2), ([0.1, 0.2, 0.3], 3)])
def test_the_best_step_is_put_back_the_later_of_equals(tmp_path, student, figures, step):
    best = train(student, tmp_path / "best.npz", figures)
    assert best.put_back() == (step, max(figures))
    assert {float(value) for weight in student.get_weights() for value in weight.ravel()} == {step}


def test_steps_that_are_no_candidates_are_passed_over(tmp_path, student):
    assert train(student, tmp_path / "best.npz", [0.9, 0.2, 0.8, 0.3], steps=(2, 4)).put_back() == (4, 0.3)


@pytest.mark.parametrize("restored", range(5))
def test_an_interruption_changes_nothing(tmp_path, student, restored):
    figures = [0.3, 0.6, 0.1, 0.5]
    train(student, tmp_path / "best.npz", figures)
    # The checkpoint may be older than the best weights, or the training may be over.
    best = train(student, tmp_path / "best.npz", figures, first_step=restored)
    assert best.put_back() == (2, 0.6)
    assert {float(value) for weight in student.get_weights() for value in weight.ravel()} == {2.0}
