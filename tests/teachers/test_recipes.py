"""What a model is shown equals, to 1e-5, what the published image processors make of a photo, computed naively."""

import dataclasses
import itertools
import json
import math

import numpy as np
import PIL.Image
import pytest

from kdistill.data import Image
from kdistill.errors import ArgumentError, KdistillError
from kdistill.runtimes.image_model import ImageInput, ImageModel
from kdistill.teachers.providers.beside import find_configuration
from kdistill.teachers.providers.model import ModelTeacher
from kdistill.teachers.providers.preprocessing import choose_view, stated_recipe
from kdistill.teachers.providers.processor_config import read_recipe
from kdistill.teachers.providers.recipe import centre_crop, clip_recipe

SHAPES = [(37, 53), (53, 37), (40, 40), (24, 24), (24, 25), (9, 31), (61, 20), (12, 12), (23, 24)]
PHOTOS = [np.random.default_rng(n).integers(0, 256, (*shape, 3), np.uint8) for n, shape in enumerate(SHAPES)]
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def kernel_value(name: str, x: float) -> float:
    x = abs(x)
    if name == "bilinear":
        return max(0.0, 1 - x)
    if name == "bicubic":  # of Keys, with a = -1/2
        if x < 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0
    return (
        1.0 if x == 0 else 0.0 if x >= 3 else 3 * math.sin(math.pi * x) * math.sin(math.pi * x / 3) / (math.pi * x) ** 2
    )


SUPPORT = {"bilinear": 1, "bicubic": 2, "lanczos": 3}


def naive_resize(values: np.ndarray, size: tuple[int, int], name: str, *, rounded: bool, order=(1, 0)) -> np.ndarray:
    """One axis after the other, a sum of weights around each output pixel; bytes are rounded after both."""
    for axis in order:
        length = size[axis]
        old = values.shape[axis]
        if old == length:
            continue
        scale = max(1.0, old / length)
        moved = np.moveaxis(values.astype(np.float64), axis, 0)
        rows = []
        for place in range(length):
            middle = (place + 0.5) * old / length
            low = max(0, int(middle - SUPPORT[name] * scale + 0.5))
            high = min(old, int(middle + SUPPORT[name] * scale + 0.5))
            weights = np.array([kernel_value(name, (n + 0.5 - middle) / scale) for n in range(low, high)])
            rows.append(np.tensordot(weights / weights.sum(), moved[low:high], 1))
        values = np.moveaxis(np.array(rows), 0, axis)
        if rounded:
            values = np.clip(np.floor(values + 0.5), 0, 255)
    return values


def naive_shorter_edge(shape: tuple[int, int], edge: int) -> tuple[int, int]:
    height, width = shape
    short, long = (width, height) if width <= height else (height, width)
    new_short, new_long = edge, int(edge * long / short)
    return (new_long, new_short) if width <= height else (new_short, new_long)


def naive_crop(image: np.ndarray, side: int) -> np.ndarray:
    """Pixel by pixel: what lies outside of the image is 0."""
    cut = np.zeros((side, side, 3), image.dtype)
    offsets = [(length - side) // 2 for length in image.shape[:2]]
    for row, column in itertools.product(range(side), range(side)):
        y, x = row + offsets[0], column + offsets[1]
        if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
            cut[row, column] = image[y, x]
    return cut


def pillow(photo: np.ndarray, size: tuple[int, int], kernel: int) -> np.ndarray:
    return np.asarray(PIL.Image.fromarray(photo).resize(size[::-1], kernel))


def normalised(bytes_: np.ndarray, mean=MEAN, std=STD, factor: float = 1 / 255) -> np.ndarray:
    return (bytes_ * factor - np.array(mean)) / np.array(std)


def recipe_of(tmp_path, **config):
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(config))
    return read_recipe(path)


HALF = [0.5, 0.5, 0.5]
CLIP_OLD = {
    "crop_size": 24,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": MEAN,
    "image_std": STD,
    "resample": 3,
    "size": 24,
}
CLIP_NEW = {
    **{
        key: CLIP_OLD[key]
        for key in ("do_center_crop", "do_normalize", "do_resize", "image_mean", "image_std", "resample")
    },
    "crop_size": {"height": 24, "width": 24},
    "do_convert_rgb": True,
    "do_rescale": True,
    "rescale_factor": 0.00392156862745098,
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 24},
    "_processor_class": None,
}
VIT = {
    "do_normalize": True,
    "do_resize": True,
    "image_mean": HALF,
    "image_std": HALF,
    "resample": 2,
    "image_processor_type": "ViTImageProcessor",
}


def cropped(photo, edge, side, kernel=3):
    return naive_crop(pillow(photo, naive_shorter_edge(photo.shape[:2], edge), kernel), side)


PUBLISHED = {
    "CLIP, old": (CLIP_OLD, lambda p: normalised(cropped(p, 24, 24)), "pillow-bicubic-shortest24-crop24"),
    "CLIP, new": (CLIP_NEW, lambda p: normalised(cropped(p, 24, 24)), "pillow-bicubic-shortest24-crop24"),
    "CLIP, fast": (
        {**CLIP_NEW, "image_processor_type": "CLIPImageProcessorFast", "default_to_square": False, "device": None},
        lambda p: normalised(cropped(p, 24, 24)),
        "pillow-bicubic-shortest24-crop24",
    ),
    "DINOv2": (
        {**CLIP_NEW, "image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 28}},
        lambda p: normalised(cropped(p, 28, 24)),
        "pillow-bicubic-shortest28-crop24",
    ),
    "ViT, old": (
        {**VIT, "feature_extractor_type": "ViTFeatureExtractor", "image_processor_type": None, "size": 24},
        lambda p: normalised(pillow(p, (24, 24), 2), HALF, HALF),
        "pillow-bilinear-24x24",
    ),
    "ViT": (
        {**VIT, "size": {"height": 24, "width": 24}},
        lambda p: normalised(pillow(p, (24, 24), 2), HALF, HALF),
        "pillow-bilinear-24x24",
    ),
    "SigLIP": (
        {**VIT, "image_processor_type": "SiglipImageProcessor", "resample": 3, "size": {"height": 24, "width": 24}},
        lambda p: normalised(pillow(p, (24, 24), 3), HALF, HALF),
        "pillow-bicubic-24x24",
    ),
    "SigLIP, what is left out": (
        {"image_processor_type": "SiglipImageProcessor", "size": {"height": 24, "width": 24}},
        lambda p: normalised(pillow(p, (24, 24), 3), HALF, HALF),
        "pillow-bicubic-24x24",
    ),
    "DeiT, a square and a crop": (
        {**VIT, "image_processor_type": "DeiTImageProcessor", "size": 28, "crop_size": 24, "do_center_crop": True},
        lambda p: normalised(naive_crop(pillow(p, (28, 28), 2), 24), HALF, HALF),
        "pillow-bilinear-28x28-crop24",
    ),
    "ConvNeXt": (
        {**VIT, "image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 24}, "crop_pct": 0.875},
        lambda p: normalised(cropped(p, 27, 24, 2), HALF, HALF),
        "pillow-bilinear-shortest27-crop24",
    ),
    "ConvNeXt, large": (
        {**VIT, "image_processor_type": "ConvNextFeatureExtractor", "size": 384, "crop_pct": 0.95},
        lambda p: normalised(pillow(p, (384, 384), 2), HALF, HALF),
        "pillow-bilinear-384x384",
    ),
    "under image_processor": (
        {"image_processor": CLIP_NEW},
        lambda p: normalised(cropped(p, 24, 24)),
        "pillow-bicubic-shor",
    ),
    "nearest, another factor, no mean": (
        {"size": 24, "resample": 0, "rescale_factor": 0.5},
        lambda p: pillow(p, (24, 24), 0) * 0.5,
        "pillow-nearest-24x24/x0.5",
    ),
    "mean and deviation of bytes": (
        {"size": 24, "do_rescale": False, "image_mean": 120, "image_std": [50, 60, 70]},
        lambda p: normalised(pillow(p, (24, 24), 2), [120] * 3, [50, 60, 70], 1),
        "pillow-bilinear-24x24/mean120.0,120.0,120.0-std50.0,60.0,70.0",
    ),
    "pixels as they are": (
        {"size": 24, "do_rescale": False, "do_normalize": False, "image_mean": HALF},
        lambda p: pillow(p, (24, 24), 2),
        "pillow-bilinear-24x24/none",
    ),
    "no resize": (
        {"do_resize": False, "do_center_crop": True, "crop_size": 24},
        lambda p: naive_crop(p, 24) / 255,
        "pillow-bilinear-crop24/x0.00392",
    ),
    "blue first": (
        {"size": {"height": 30, "width": 26}, "crop_size": 24, "do_flip_channel_order": True},
        lambda p: naive_crop(pillow(p, (30, 26), 2), 24)[..., ::-1] / 255,
        "pillow-bilinear-30x26-crop24/bgr-x",
    ),
    "floats resized": (
        {"image_processor_type": "DINOv3ViTImageProcessorFast", "size": {"height": 24, "width": 24}},
        lambda p: normalised(
            naive_resize(p, (24, 24), "bilinear", rounded=False), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        ),
        "pillow-bilinear-float-24x24",
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configurations(tmp_path, name):
    config, expected, view = PUBLISHED[name]
    recipe = recipe_of(tmp_path, **config)
    for photo in PHOTOS:
        shown = recipe.apply(photo)
        assert (shown.dtype, shown.shape) == (np.float32, (recipe.side, recipe.side, 3))
        np.testing.assert_allclose(shown, expected(photo), atol=1e-5)
    assert recipe.name.startswith(view)


@pytest.mark.parametrize(("number", "name"), [(1, "lanczos"), (2, "bilinear"), (3, "bicubic")])
def test_kernels_by_pillows_number(tmp_path, number, name):
    recipe = recipe_of(tmp_path, size={"height": 24, "width": 24}, resample=number, do_rescale=False)
    for photo in PHOTOS:
        # Pillow chooses the cheaper order, and its weights have a limited number of bits: a value that lies between two
        # bytes may fall to either.
        naive = [naive_resize(photo, (24, 24), name, rounded=True, order=order) for order in ((1, 0), (0, 1))]
        off = min((np.abs(recipe.apply(photo) - one) for one in naive), key=np.sum)
        assert off.max() <= 1
        assert (off > 0).mean() < 0.06


def test_the_centre_of_what_is_larger_smaller_and_odd():
    for photo, side in itertools.product(PHOTOS, (9, 10, 24, 31, 64)):
        np.testing.assert_array_equal(centre_crop(photo, side), naive_crop(photo, side))


@pytest.mark.parametrize("shape", [(37, 53), (53, 38), (7, 301), (24, 24)])
def test_a_long_strip_is_not_made_whole(monkeypatch, shape):
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for recipe in (clip_recipe(24), dataclasses.replace(clip_recipe(24), shortest=20)):
        whole = recipe.apply(photo)
        with monkeypatch.context() as context:
            context.setattr("kdistill.teachers.providers.recipe.LARGE_PIXELS", 1)
            part = recipe.apply(photo)
        # Which axis comes first may differ, and with it where bytes are rounded and clipped in between.
        np.testing.assert_allclose(part * STD, whole * STD, atol=8 / 255)
        assert np.abs(part - whole).mean() < 0.01
    strip = np.full((1, 300_000, 3), 77, np.uint8)
    np.testing.assert_allclose(clip_recipe(24).apply(strip)[3, 5], (77 / 255 - np.array(MEAN)) / STD, atol=1e-5)


def test_clip_by_name_is_its_published_configuration(tmp_path):
    assert clip_recipe(24) == recipe_of(tmp_path, **CLIP_NEW)


def model(side=24, dtype=np.float32, **options):
    return ImageModel(
        ImageInput(side, np.dtype(dtype), **options), lambda rows: rows.reshape(len(rows), -1), scales_itself=True
    )


def test_which_recipe_counts(tmp_path):
    beside, other = tmp_path / "preprocessor_config.json", tmp_path / "other.json"
    beside.write_text(json.dumps(CLIP_NEW))
    other.write_text(json.dumps({**VIT, "size": 24}))

    def view(scaling, configuration=beside):
        return choose_view(model(), scaling, "m", stated_recipe(scaling, configuration)).name

    assert view("auto").startswith("pillow-bicubic-shortest24-crop24/x0.00392156862745098-mean0.48145466,")
    assert view("auto", None) == "pillow-bilinear-24/none"  # what the model does itself
    assert view("torch") == "pillow-bilinear-24/torch"
    assert view("clip") == view("auto") == view(str(beside))
    assert view(str(other)).startswith("pillow-bilinear-24x24/x0.00392156862745098-mean0.5,0.5,0.5-std0.5")
    photos = [Image(str(n), array=photo) for n, photo in enumerate(PHOTOS)]
    teacher = ModelTeacher(model(), "m", name="m@0", scaling="clip")
    expected = np.stack([normalised(cropped(photo, 24, 24)).ravel() for photo in PHOTOS])
    np.testing.assert_allclose(teacher.embed(photos), expected, atol=1e-5)


def test_quantised_inputs_take_recipes_and_bytes_do_not(tmp_path):
    photos = [Image(str(n), array=photo) for n, photo in enumerate(PHOTOS)]
    tensor = choose_view(model(dtype=np.int8, quantization=(0.04, 3)), "clip", "m").tensor(photos)
    expected = np.stack([normalised(cropped(photo, 24, 24)) for photo in PHOTOS])
    np.testing.assert_allclose((tensor.astype(np.float64) - 3) * 0.04, expected, atol=0.021)
    bytes_ = model(dtype=np.uint8)
    with pytest.raises(ArgumentError, match="takes uint8, so the scaling must be 'none', not 'clip'"):
        choose_view(bytes_, "clip", "m")
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"size": 24, "resample": 3, "do_rescale": False}))
    tensor = choose_view(bytes_, str(path), "m", stated_recipe(str(path), None)).tensor(photos)
    np.testing.assert_array_equal(tensor, np.stack([pillow(photo, (24, 24), 3) for photo in PHOTOS]))
    with pytest.raises(KdistillError, match=r"takes images of side 20, and .*p\.json makes images of side 24"):
        choose_view(model(20), str(path), "m", stated_recipe(str(path), None))


def test_where_a_configuration_lies(tmp_path):
    file = tmp_path / "repository" / "onnx" / "model.onnx"
    file.parent.mkdir(parents=True)
    assert find_configuration(file) is None
    places = [tmp_path / "repository", file.parent]
    for place in places:
        (place / "processor_config.json").write_text('{"processor_class": "CLIPProcessor"}')
        assert find_configuration(file) in (None, places[0] / "preprocessor_config.json")
        (place / "processor_config.json").write_text('{"image_processor": {}}')
        assert find_configuration(file) == place / "processor_config.json"
        (place / "preprocessor_config.json").write_text("{}")
        assert find_configuration(file) == place / "preprocessor_config.json"
    assert find_configuration(file.parent) == file.parent / "preprocessor_config.json"
