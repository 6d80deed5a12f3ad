"""Tuning: which settings are tried, how many go on, what is chosen, and that nothing is tried twice after a kill."""

import json

import numpy as np
import pytest

from kdistill.errors import ArgumentError
from kdistill.files.whole import write_arrays
from kdistill.settings import Settings
from kdistill.settings.checks import check
from kdistill.settings.held_out_checks import check_tuning
from kdistill.stages.tuning import tune as tuning
from kdistill.stages.tuning.candidates import LEARNING_RATES, STEPS, candidates
from kdistill.stages.tuning.tuned import told, tuned
from kdistill.stages.workdir import Workdir

WEIGHTS = {"backbone": "mobilenet_v2", "student_weights": "x.weights.h5"}


def test_the_runs_own_settings_come_first_and_more_hold_the_fewer():
    settings = Settings.of(seed=3, **WEIGHTS)
    few, more = candidates(settings, 5), candidates(settings, 12)
    assert few[0] == {}
    assert more[:5] == few
    assert len({json.dumps(change, sort_keys=True) for change in more}) == 12
    assert candidates(settings.changed(seed=4), 12) != more


def test_only_what_has_an_effect_is_varied_within_its_multiples():
    settings = Settings.of(learning_rate=2e-3, steps=100, **WEIGHTS)
    found = candidates(settings, 60)
    assert {name for change in found for name in change} == {
        "learning_rate", "steps", "loss_options", "mixtures", "embedding_dim"
    }  # fmt: skip
    assert {change["steps"] for change in found if "steps" in change} == {
        round(100 * factor) for factor in STEPS if factor != 1
    }
    rates = sorted({change["learning_rate"] for change in found if "learning_rate" in change})
    assert rates == pytest.approx([2e-3 * factor for factor in LEARNING_RATES if factor != 1])
    with_assistant = candidates(settings.changed(assistant_backbone="mobilenet_v2"), 60)
    assert {None} == {change["assistant_backbone"] for change in with_assistant if "assistant_backbone" in change}
    plain = candidates(Settings.of(loss="pkt"), 60)
    assert {name for change in plain for name in change} == {"learning_rate", "steps"}
    for change in found:
        check_type = settings.changed(**change)
        assert check_type.training.steps >= 1


def test_options_of_the_loss_that_were_given_stay():
    settings = Settings.of(loss_options="similarity=dot,student_temperature=0.3")
    options = [change["loss_options"] for change in candidates(settings, 30) if "loss_options" in change]
    assert options
    assert all("similarity=dot" in text and "student_temperature=0.3" not in text for text in options)


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """A work folder with answers, and a training that scores settings by a formula and counts itself."""
    calls = []

    def distill(settings, workdir):
        assert (workdir.path / "answers.npz").is_file()
        rate = settings.training.learning_rate
        calls.append((rate, settings.training.steps))
        score = 1 - abs(np.log2(rate / 4e-3)) / 10
        lines = [
            {"step": 1, "val_overlap_at_10": 0.0},
            {"step": 2, "val_overlap_at_10": score},
            {"step": 3, "loss": 1.0},
        ]
        workdir.history.write_text("".join(json.dumps(line) + "\n" for line in lines))

    monkeypatch.setattr(tuning, "distill", distill)
    monkeypatch.setattr(tuning.keras.backend, "clear_session", lambda: None)  # nothing was built, and it takes a while
    write_arrays(tmp_path / "answers.npz", ids=np.array(["a"]))
    return Workdir(tmp_path), calls


def test_the_better_half_goes_on_and_the_runs_own_settings_always(trained):
    workdir, calls = trained
    settings = Settings.of(learning_rate=1e-3, steps=800, tune=12, loss="pkt")
    result = tuning.tune(settings, workdir)
    trials = result.figures["tuned"]["trials"]
    shares = [trial["share_of_steps"] for trial in trials]
    # The better half, and the run's own settings where they are not among it.
    assert [shares.count(share) for share in tuning.SHARES] == [12, 7, 5]
    assert [trial["changes"] for trial in trials].count({}) == 3
    chosen = result.figures["tuned"]["chosen"]
    assert chosen["learning_rate"] == pytest.approx(4e-3)
    assert tuned(settings, workdir).training.learning_rate == chosen["learning_rate"]
    assert tuned(settings, workdir).training.tune == 0
    assert told({}) == "the run's own"
    assert not (workdir.path / "tuning").exists()
    # Half of so many steps and a quarter of twice as many are one training.
    assert len(set(calls)) == len(calls) <= len(trials)


def test_own_settings_stay_where_nothing_is_better(trained):
    workdir, _ = trained
    result = tuning.tune(Settings.of(learning_rate=4e-3, steps=80, tune=8, loss="pkt"), workdir)
    assert "learning_rate" not in result.figures["tuned"]["chosen"]


def test_a_kill_loses_one_trial(trained, monkeypatch):
    workdir, calls = trained
    settings, real = Settings.of(steps=80, tune=6, loss="pkt"), tuning.distill

    def killed(settings, folder):
        if len(calls) == 4:
            calls.append("killed")
            raise KeyboardInterrupt
        real(settings, folder)

    monkeypatch.setattr(tuning, "distill", killed)
    with pytest.raises(KeyboardInterrupt):
        tuning.tune(settings, workdir)
    result = tuning.tune(settings, workdir)
    assert calls.count("killed") == 1
    assert len(set(calls)) == len(calls), "the same training was done twice"
    assert len(result.figures["tuned"]["trials"]) == 6 + 3 + 2 - 1


def test_without_held_out_answers_it_is_refused():
    with pytest.raises(ArgumentError, match="--tune=4 chooses by held-out answers, and none are held out"):
        check_tuning(Settings.of(tune=4), 0)
    check_tuning(Settings.of(tune=4), 64)
    with pytest.raises(ArgumentError, match="leave out --target_flops"):
        check(Settings.of(tune=4, target_flops=0.5))
    with pytest.raises(ArgumentError, match="run the stage 'tune' first"):
        tuned(Settings.of(tune=4), Workdir("nowhere", create=False))
