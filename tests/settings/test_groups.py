"""The groups of settings agree with the facts about what can be chosen, and with themselves."""

import pytest

from kdistill.errors import ArgumentError
from kdistill.facts import brought, joint_space, students, teachers
from kdistill.runtimes.outputs import POOLINGS
from kdistill.settings import FIELDS, GROUP_OF, Settings, groups
from kdistill.settings.setting import values_of
from kdistill.teachers import SCALINGS, STRATEGIES
from kdistill.teachers.providers.preprocessing import AUTO, CLIP

CHOICES = {
    "teacher_backbone": tuple(students.BACKBONES),
    "pooling": students.POOLINGS,
    "backbone_scaling": brought.SCALINGS,
    "mixing": joint_space.DISTRIBUTIONS,
    "pairing": joint_space.PAIRINGS,
    "anchors": joint_space.ROLES,
    "rank_against": joint_space.ROLES,
    "strategy": joint_space.STRATEGIES,
    "joint_space": joint_space.JOINT_SPACES,
    "channel_importance": joint_space.IMPORTANCES,
    "teacher_pooling": POOLINGS,
    "selection": tuple(STRATEGIES),
}


@pytest.mark.parametrize("name", CHOICES)
def test_what_can_be_chosen_is_what_there_is(name):
    assert set(values_of(dict(groups())[GROUP_OF[name]], name).choices) == set(CHOICES[name])


def test_the_names_of_scalings_are_those_that_there_are():
    assert teachers.AUTO == AUTO
    assert set(teachers.SCALINGS) == {*SCALINGS, CLIP}


def test_every_setting_stands_once_with_help_and_a_default_of_its_own_kind():
    names = [name for _, group in groups() for name in group.__dataclass_fields__]
    assert len(names) == len(set(names)) == len(FIELDS)
    for name, value in Settings().values().items():
        assert FIELDS[name].metadata["help"][0] != " "
        Settings.of(**{name: value})


def test_about_two_dozen_are_what_most_runs_need():
    assert 20 <= sum(field.metadata["common"] for field in FIELDS.values()) <= 28


def test_values_of_another_kind_are_refused_by_name():
    for name, value in (
        ("steps", "7"),
        ("steps", 1.5),
        ("augment", 1),
        ("scales", 1.0),
        ("loss", None),
        ("top_k", True),
    ):
        with pytest.raises(ArgumentError, match=f"--{name}"):
            Settings.of(**{name: value})
    with pytest.raises(ArgumentError, match="no setting 'step'"):
        Settings.of(step=1)


def test_a_change_leaves_the_rest_and_the_original():
    settings = Settings.of(steps=7)
    assert settings.changed(loss="gram").values() == settings.values() | {"loss": "gram"}
    assert settings.training.loss == "softmax_ranking"


def test_a_seed_of_any_size_is_folded_into_31_bits():
    assert Settings.of(seed=5).run.small_seed == 5
    assert Settings.of(seed=2**31 - 1).run.small_seed == 2**31 - 1
    large = Settings.of(seed=12345678901234567890123)
    assert 0 <= large.run.small_seed < 2**31
    assert large.run.small_seed != Settings.of(seed=12345678901234567890124).run.small_seed
