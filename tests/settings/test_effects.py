"""Settings that change nothing beside the others are refused when they are given, and silent when they are not."""

from pathlib import Path

import pytest

from kdistill.errors import ArgumentError
from kdistill.settings import FIELDS, GROUP_OF, Settings, groups
from kdistill.settings.checks import check_effects
from kdistill.settings.effects import without_effect
from kdistill.settings.flagfile import flag_lines
from kdistill.settings.setting import values_of

SERVICE = "https://host/embed"

IDLE = [
    ({}, "data_dir", "dataset"),
    ({}, "pool_file", "dataset"),
    ({"dataset": "lists"}, "gnd_file", "dataset"),
    ({"dataset": "folder"}, "val_file", "dataset"),
    ({"teacher": "t.npz"}, "teacher_scaling", "teacher"),
    ({"teacher": "t.onnx"}, "teacher_alpha", "teacher"),
    ({"teacher": "t.npz"}, "teacher_image_size", "teacher"),
    ({"teacher": "imagenet"}, "teacher_pooling", "teacher"),
    ({"teacher": "m:f"}, "teacher_output", "teacher"),
    ({"teacher": "imagenet", "teacher_backbone": "resnet50_v2"}, "teacher_alpha", "teacher_backbone"),
    ({"teacher": "t.onnx"}, "trust_packages", "teacher"),
    ({"teacher": "t.npz"}, "trust_packages", "teacher"),
    ({"teacher": SERVICE}, "trust_packages", "teacher"),
    ({"teacher": "m:f"}, "teacher_retries", "teacher"),
    ({"teacher": "m:f"}, "teacher_api", "teacher"),
    ({"teacher": "m:f"}, "requests_per_minute", "teacher"),
    ({"teacher": "t.onnx"}, "concurrency", "teacher"),
    ({"teacher": "m:f", "engine": "ray"}, "concurrency", "engine"),
    ({"teacher": SERVICE}, "teacher_model", "teacher_api"),
    ({"teacher": SERVICE, "teacher_api": "jina"}, "teacher_scaling", "teacher_api"),
    ({"teacher": SERVICE, "teacher_api": "jina_rerank"}, "teacher_pooling", "teacher_api"),
    ({"teacher": SERVICE, "teacher_api": "titan"}, "teacher_model", "teacher_api"),
    ({}, "candidates", "teacher_answers"),
    ({}, "assistant_steps", "assistant_backbone"),
    ({"assistant_backbone": "n.keras"}, "assistant_weights", "assistant_backbone"),
    ({"assistant_backbone": "n.keras"}, "assistant_alpha", "assistant_backbone"),
    ({"assistant_backbone": "small_cnn"}, "assistant_backbone_scaling", "assistant_backbone"),
    ({"assistant_backbone": "resnet50_v2"}, "assistant_alpha", "assistant_backbone"),
    ({"assistant_backbone": "small_cnn", "assistant_training": "head"}, "assistant_dim", "assistant_training"),
    ({"assistant_backbone": "small_cnn", "loss": "rkd"}, "assistant_truth", "loss"),
    ({"assistant_backbone": "small_cnn", "hash_bits": 64}, "assistant_truth", "hash_bits"),
    ({"assistant_backbone": "small_cnn", "assistant_training": "head", "loss": "rkd"}, "mixtures", "loss"),
    ({"teacher_answers": "order"}, "pair_sampler", "teacher_answers"),
    ({"teacher_answers": "order"}, "assistant_weights", "assistant_backbone"),
    ({"teacher_answers": "order"}, "loss", "teacher_answers"),
    ({"teacher_answers": "order"}, "bank_size", "teacher_answers"),
    ({"backbone": "resnet50_v2"}, "alpha", "backbone"),
    ({"backbone": "math:sqrt"}, "alpha", "backbone"),
    ({}, "backbone_scaling", "backbone"),
    ({"backbone": "kerashub:vit"}, "trust_packages", "teacher"),
    ({"loss": "rkd"}, "bank_size", "loss"),
    ({"loss": "rkd"}, "mixtures", "loss"),
    ({"loss": "csd"}, "anchors", "loss"),
    ({"mixtures": 0}, "pairing", "mixtures"),
    ({"mixing": "uniform"}, "mixing_alpha", "mixing"),
    ({}, "renormalise", "loss"),
    ({"loss": "rkd_distance"}, "renormalise", "loss"),
    ({"rank_against": "originals"}, "rank_parents", "anchors"),
    ({}, "hash_quantisation", "hash_bits"),
    ({}, "own_weight", "space"),
    ({"space": "teacher"}, "bank_size", "own_weight"),
    ({"space": "teacher", "loss": "regression"}, "pointwise_weight", "loss"),
    ({"space": "teacher", "assistant_backbone": "small_cnn"}, "assistant_dim", "space"),
    ({}, "joint_space", "strategy"),
    ({}, "shrink_from", "target_flops"),
    ({"target_params": 0.5}, "channel_neighbours", "channel_importance"),
    ({}, "whiten_dim", "whiten"),
    ({}, "actors", "engine"),
    ({}, "max_megapixels", "dataset"),
    ({}, "cache_gb", "dataset"),
    ({"dataset": "revisited"}, "most_queries", "dataset"),
    ({"teacher_answers": "order"}, "whiten_teacher", "teacher_answers"),
    ({"teacher_answers": "order", "assistant_backbone": "small_cnn"}, "whiten_teacher", "teacher_answers"),
    ({"teacher_answers": "order", "assistant_backbone": "small_cnn"}, "assistant_if_better", "teacher_answers"),
    ({"teacher_answers": "pairs", "assistant_backbone": "small_cnn"}, "whiten_teacher", "teacher_answers"),
]


@pytest.mark.parametrize(("values", "name", "cause"), IDLE)
def test_what_has_no_effect_names_both(values, name, cause):
    settings = Settings.of(**values)
    assert without_effect(settings)[name].cause == cause
    with pytest.raises(ArgumentError) as caught:
        check_effects(settings, [name])
    assert f"--{name} has no effect" in str(caught.value)
    if cause in values:
        assert str(values[cause]) in str(caught.value)
    check_effects(settings, [])


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"loss_options": "similarity=dot"}, "renormalise"),
        ({"loss_options": "student_temperature=0.1, similarity = dot"}, "renormalise"),
        ({"dataset": "lists"}, "pool_file"),
        ({"dataset": "folder"}, "cache_gb"),
        ({"teacher": "t.onnx"}, "teacher_image_size"),
        ({"teacher": "imagenet"}, "teacher_image_size"),
        ({"teacher": "folder/clip"}, "teacher_pooling"),
        ({"teacher": "folder/clip"}, "trust_packages"),
        ({"teacher": "t.keras"}, "trust_packages"),
        ({"whiten": "pca", "whiten_dir": "photos"}, "max_megapixels"),
        ({"teacher": "folder/saved"}, "teacher_scaling"),
        ({"teacher": SERVICE}, "teacher_timeout"),
        ({"teacher": SERVICE}, "concurrency"),
        ({"teacher": "m:f"}, "concurrency"),
        ({"teacher": SERVICE, "teacher_api": "jina"}, "teacher_model"),
        ({"teacher": SERVICE, "teacher_api": "tfserving"}, "teacher_output"),
        ({"teacher": "http://host/v2/models/m"}, "teacher_scaling"),
        ({"teacher": "http://host/v2/models/m/versions/3/infer"}, "teacher_image_size"),
        ({"teacher_answers": "pairs", "assistant_backbone": "small_cnn"}, "pair_sampler"),
        ({"teacher_answers": "pairs", "assistant_backbone": "small_cnn"}, "loss"),
        ({"backbone": "mobilenet_v2"}, "alpha"),
        ({"backbone": "own.keras"}, "backbone_scaling"),
        ({"assistant_backbone": "own.keras"}, "assistant_backbone_scaling"),
        ({"assistant_backbone": "math:sqrt"}, "trust_packages"),
        ({"backbone": "math:sqrt"}, "trust_packages"),
        ({"loss": "gram"}, "bank_size"),
        ({"loss": "csd"}, "bank_size"),
        ({"loss": "rkd", "assistant_backbone": "small_cnn"}, "mixtures"),
        ({"assistant_backbone": "small_cnn"}, "assistant_truth"),
        ({"target_flops": 0.5}, "shrink_from"),
        ({"rank_against": "both"}, "rank_parents"),
    ],
)
def test_what_has_an_effect_is_accepted(values, name):
    check_effects(Settings.of(**values), [name])


def test_a_flag_overrules_a_flagfile_with_a_word():
    settings = Settings.of(loss="rkd")
    (told,) = check_effects(settings, ["loss"], ["bank_size"])
    assert told.startswith("--bank_size has no effect with --loss=rkd")
    with pytest.raises(ArgumentError, match="--bank_size has no effect with --loss=rkd"):
        check_effects(settings, [], ["loss", "bank_size"])


def test_a_written_flagfile_holds_what_has_an_effect_and_no_more():
    settings = Settings.of(loss="rkd", steps=7, scales=(1.0, 0.5))
    names = {line.partition("=")[0].removeprefix("--") for line in flag_lines(settings)}
    left_out = {"judge_queries"}  # a number that is not given has no text
    assert names == FIELDS.keys() - without_effect(settings).keys() - left_out
    assert "--steps=7" in flag_lines(settings)
    assert "--scales=1.0,0.5" in flag_lines(settings)


@pytest.mark.parametrize(
    "flagfile", sorted((Path(__file__).parents[2] / "configs").glob("*.flags")), ids=lambda path: path.name
)
def test_no_shipped_flagfile_gives_what_has_no_effect(flagfile):
    lines = [line for line in flagfile.read_text().splitlines() if line.startswith("--")]
    given = dict(line.removeprefix("--").split("=", 1) for line in lines)
    kinds = {bool: lambda text: text == "true", int: int, float: float, str: str}
    taken = {name: values_of(dict(groups())[GROUP_OF[name]], name).kind for name in given}
    values = {name: kinds[taken[name]](value) for name, value in given.items()}
    check_effects(Settings.of(**values), list(given))
