"""A configuration that cannot be followed is refused by the name of its key, in one sentence, and never ignored."""

import json
import random

import pytest

from kdistill.errors import KdistillError
from kdistill.teachers.providers.processor_config import read_recipe

GOOD = {
    "do_resize": True,
    "size": {"shortest_edge": 28},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 24, "width": 24},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
SQUARE = {"do_center_crop": False, "crop_size": None}

REFUSED = [
    ({"size": None}, "has no 'size'"),
    ({"size": "large"}, "has size = large, expected pixels from 1 to 16384"),
    ({"size": 0}, "has size = 0, expected pixels"),
    ({"size": True}, "has size = True, expected pixels"),
    ({"size": 10**9}, "has size = 1000000000, expected pixels"),
    ({"size": 24.5}, "has size = 24.5, expected pixels"),
    ({"size": [24, 24]}, r"has size = \[24, 24\], expected pixels"),
    ({"size": {}}, "has size = {}, expected a number, height and width, or the shortest_edge alone"),
    ({"size": {"shortest_edge": 28, "longest_edge": 99}}, "has size = .*longest_edge"),
    ({"size": {"longest_edge": 28}}, "has size = .*longest_edge"),
    ({"size": {"height": 28}}, "has size = {'height': 28}"),
    ({"size": {"height": 28, "width": -1}}, "has size = -1, expected pixels"),
    ({**SQUARE, "size": {"height": 28, "width": 30}}, "has size = 28 x 30, expected a square"),
    (SQUARE, "has size = {'shortest_edge': 28}, expected a centre crop"),
    ({**SQUARE, "do_resize": False}, "has do_resize = false, expected a centre crop"),
    ({"do_resize": "yes"}, "has do_resize = yes, expected true or false"),
    ({"do_rescale": 1}, "has do_rescale = 1, expected true or false"),
    (
        {"resample": 9},
        r"has resample = 9, expected Pillow's number of a kernel \(0 nearest, 1 lanczos, 2 bilinear, 3 b",
    ),
    ({"resample": "bicubic"}, "has resample = bicubic, expected Pillow's number"),
    ({"resample": True}, "has resample = True, expected Pillow's number"),
    ({"crop_size": None}, "has crop_size = nothing, expected pixels"),
    ({"crop_size": {"height": 24, "width": 20}}, "has crop_size = .*, expected a number, or height and width"),
    ({"crop_size": {"shortest_edge": 24}}, "has crop_size"),
    ({"crop_pct": 0.9}, "has crop_pct = 0.9, expected at most 1, a size of the shortest edge, and no centre crop"),
    ({**SQUARE, "crop_pct": 1.2}, "has crop_pct = 1.2, expected at most 1"),
    ({**SQUARE, "crop_pct": -1}, "has crop_pct = -1, expected a finite number above 0"),
    ({**SQUARE, "crop_pct": 0.9, "image_processor_type": "ViTImageProcessor"}, "has crop_pct = 0.9"),
    ({"rescale_factor": "1/255"}, "has rescale_factor = 1/255, expected a finite number above 0"),
    ({"rescale_factor": 0}, "has rescale_factor = 0,"),
    ({"rescale_factor": float("nan")}, "has rescale_factor = nan,"),
    ({"image_mean": [0.5, 0.5]}, r"has image_mean = \[0.5, 0.5\], expected one finite number, or three"),
    ({"image_mean": "0.5"}, "has image_mean = 0.5, expected one finite number"),
    ({"image_mean": [0.5, None, 0.5]}, "has image_mean"),
    ({"image_mean": None}, "has do_normalize = true, expected image_mean and image_std beside it"),
    ({"image_std": [0.5, 0, 0.5]}, "has image_std = .*, none of them 0"),
    ({"image_std": float("inf")}, "has image_std = inf,"),
    ({"do_pad": True}, "asks for do_pad = True, which is not done here"),
    ({"size_divisor": 32}, "asks for size_divisor = 32, which is not done here"),
    ({"do_thumbnail": True}, "asks for do_thumbnail"),
    ({"include_top": True}, "asks for include_top"),
    ({"rescale_offset": True}, "asks for rescale_offset"),
    ({"something_new": {"a": 1}}, "asks for something_new = {'a': 1}"),
    ({"auto_map": {"AutoImageProcessor": "own.Processor"}}, "asks for auto_map"),
    (
        {"image_processor_type": "LevitImageProcessor"},
        "asks for the processor LevitImageProcessor, which is not known here",
    ),
    ({"image_processor_type": 3}, "asks for the processor 3"),
    ({"image_processor_type": "ConvNextImageProcessor", **SQUARE, "size": {"height": 24, "width": 24}}, "has size"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_refusals(tmp_path, changes, words):
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(GOOD))
    assert read_recipe(path).side == 24
    path.write_text(json.dumps({**GOOD, **changes}))
    with pytest.raises(KdistillError, match=rf"{path} {words}") as caught:
        read_recipe(path)
    assert "--teacher_scaling" in str(caught.value)


@pytest.mark.parametrize("key", ["do_pad", "include_top", "do_thumbnail", "auto_map", "_anything"])
def test_what_is_not_asked_for_is_no_reason(tmp_path, key):
    path = tmp_path / "preprocessor_config.json"
    for value in (False, None):
        path.write_text(json.dumps({**GOOD, key: value}))
        assert read_recipe(path).side == 24


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000, b'{"image_processor": []}'])
def test_what_is_no_configuration(tmp_path, content):
    path = tmp_path / "preprocessor_config.json"
    path.write_bytes(content)
    with pytest.raises(KdistillError, match=r"cannot be read as JSON|holds no JSON object"):
        read_recipe(path)
    with pytest.raises(KdistillError):
        read_recipe(tmp_path / "missing.json")


def test_random_values_give_a_recipe_or_one_sentence(tmp_path):
    chance = random.Random(5)
    values = [
        None,
        True,
        False,
        0,
        -1,
        3,
        24,
        1e400,
        0.5,
        "",
        "x",
        [],
        [1, 2, 3],
        [[1]],
        {},
        {"height": 24, "width": 24},
    ]
    values += [{"shortest_edge": 24}, {"height": None}, 10**400, {"height": "a", "width": []}]
    path = tmp_path / "preprocessor_config.json"
    outcomes = {"recipe": 0, "sentence": 0}
    for _ in range(1500):
        config = {**GOOD, **{chance.choice(list(GOOD)): chance.choice(values) for _ in range(chance.randint(0, 2))}}
        for key in chance.sample(list(config), chance.randint(0, 2)):
            config.pop(key)
        path.write_text(json.dumps(config))
        try:
            outcomes["recipe"] += read_recipe(path).side > 0
        except KdistillError as error:
            outcomes["sentence"] += "\n" not in str(error)
    assert sum(outcomes.values()) == 1500
    assert min(outcomes.values()) > 100
