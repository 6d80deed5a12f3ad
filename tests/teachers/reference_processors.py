"""Makes `reference_pixels.npz`, the pixels of the published image processors, for test_reference_pixels.py.

Made once by `python tests/teachers/reference_processors.py` where the package `transformers` (5.24.0, Pillow 13.0.0)
is installed, without torchvision, so that the processors are those with Pillow. No test runs it. Each case is a
configuration as it stands in a `preprocessor_config.json`; the processor is built from it, nothing is downloaded.

DINOv3's processor has no form with Pillow: its steps (factor, resize, mean and deviation) are done here one by one,
with the resize of PyTorch (2.13.0) that torchvision calls.
"""

import json
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).with_name("reference_pixels.npz")

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
CROP = {"crop_size": {"height": 16, "width": 16}}
SQUARE = {"size": {"height": 16, "width": 16}}

# Name -> configuration. The first group is completed by the processor's own `to_dict`, as it saves itself; the second
# stands as old files have it.
WHOLE = {
    "CLIP": {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 16}, **CROP},
    "CLIP, a larger resize": {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 21}, **CROP},
    "CLIP, a smaller resize": {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 11}, **CROP},
    "CLIP, the crop alone": {"image_processor_type": "CLIPImageProcessor", "do_resize": False, **CROP},
    "CLIP, bytes": {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 16},
        "do_rescale": False,
        "do_normalize": False,
        **CROP,
    },
    "CLIP, mean of bytes": {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 16},
        "do_rescale": False,
        "image_mean": [123.675, 116.28, 103.53],
        "image_std": [58.395, 57.12, 57.375],
        **CROP,
    },
    "ChineseCLIP": {"image_processor_type": "ChineseCLIPImageProcessor", "size": {"shortest_edge": 16}, **CROP},
    "SigLIP": {"image_processor_type": "SiglipImageProcessor", **SQUARE},
    "SigLIP, bilinear": {"image_processor_type": "SiglipImageProcessor", "resample": 2, **SQUARE},
    "SigLIP, lanczos": {"image_processor_type": "SiglipImageProcessor", "resample": 1, **SQUARE},
    "DINOv2": {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": 18},
        **CROP,
        **IMAGENET,
    },
    "ViT": {"image_processor_type": "ViTImageProcessor", **SQUARE},
    "ViT, 0 to 1": {"image_processor_type": "ViTImageProcessor", "do_normalize": False, **SQUARE},
    "ViT, another factor": {"image_processor_type": "ViTImageProcessor", "rescale_factor": 1 / 127.5, **SQUARE},
    "BEiT": {
        "image_processor_type": "BeitImageProcessor",
        "size": {"height": 18, "width": 18},
        "do_center_crop": True,
        **CROP,
    },
    "DeiT": {"image_processor_type": "DeiTImageProcessor", "size": {"height": 18, "width": 18}, **CROP, **IMAGENET},
    "ConvNeXt": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 16}, **IMAGENET},
    "ConvNeXt, crop_pct": {
        "image_processor_type": "ConvNextImageProcessor",
        "size": {"shortest_edge": 16},
        "crop_pct": 0.7,
        "resample": 3,
        **IMAGENET,
    },
    "ConvNeXt, large": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}, **IMAGENET},
    "BLIP": {"image_processor_type": "BlipImageProcessor", **SQUARE},
    "MobileNetV1": {"image_processor_type": "MobileNetV1ImageProcessor", "size": {"shortest_edge": 18}, **CROP},
    "MobileNetV2": {"image_processor_type": "MobileNetV2ImageProcessor", "size": {"shortest_edge": 18}, **CROP},
}
OLD = {
    "CLIP, old": {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "size": 16,
        "crop_size": 16,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "resample": 3,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    },
    "ViT, old": {
        "feature_extractor_type": "ViTFeatureExtractor",
        "size": 16,
        "do_normalize": True,
        "do_resize": True,
        "resample": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    },
    "SigLIP, silent": {"image_processor_type": "SiglipImageProcessor", **SQUARE},
    "CLIP, silent": {"image_processor_type": "CLIPImageProcessor", "size": 16, "crop_size": 16},
    "ConvNeXt, silent": {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 16},
    "DeiT, silent": {"image_processor_type": "DeiTImageProcessor", "size": 18, "crop_size": 16},
    "BEiT, silent": {"image_processor_type": "BeitImageProcessor", "size": 16},
    "BLIP, silent": {"image_processor_type": "BlipImageProcessor", **SQUARE},
    "ViT, silent": {"image_processor_type": "ViTImageProcessor", "size": 16},
    "DINOv2, silent": {"image_processor_type": "BitImageProcessor", "size": 16, "crop_size": 16},
    "MobileNetV2, silent": {"image_processor_type": "MobileNetV2ImageProcessor", "size": 18, "crop_size": 16},
}

FLOATS = {
    "DINOv3": {"image_processor_type": "DINOv3ViTImageProcessorFast", **SQUARE},
    "DINOv3, bicubic": {"image_processor_type": "DINOv3ViTImageProcessorFast", "resample": 3, **SQUARE},
}
"""Those that resize floats; silent about the rest."""


def photos() -> list[np.ndarray]:
    """Returns uint8 RGB photos, none of them square: waves under noise, the last one smaller than the crop."""
    made = []
    for seed, (height, width) in enumerate([(37, 53), (58, 41), (11, 30)]):
        y, x = np.mgrid[:height, :width][..., None] / np.array([3.0, 5.0, 8.0])
        waves = 127 + 90 * np.sin(y + seed) * np.cos(x)
        noise = np.random.default_rng(seed).normal(0, 40, (height, width, 3))
        made.append(np.clip(waves + noise, 0, 255).astype(np.uint8))
    return made


def kept(pixels: np.ndarray) -> np.ndarray:
    """Returns every 24th pixel of large outputs, and small ones whole: [S, S, 3]."""
    return pixels[::24, ::24] if len(pixels) > 100 else pixels


def floats_resized(photo: np.ndarray, mode: str) -> np.ndarray:
    """Returns float32 [16, 16, 3] as DINOv3's processor makes it."""
    import torch

    pixels = torch.from_numpy(photo.transpose(2, 0, 1).copy())[None].float() * (1 / 255)
    resized = torch.nn.functional.interpolate(pixels, (16, 16), mode=mode, antialias=True, align_corners=False)
    mean, std = (torch.tensor(IMAGENET[key])[None, :, None, None] for key in ("image_mean", "image_std"))
    shown: np.ndarray = ((resized - mean) / std)[0].permute(1, 2, 0).numpy()
    return shown


def main() -> None:
    """Writes GOLDEN: "configurations" (JSON) and "NAME/number of the photo", float32 [S, S, 3]."""
    import transformers

    configurations, arrays = {}, {}
    for name, config in {**WHOLE, **OLD}.items():
        kind = config.get("image_processor_type") or config["feature_extractor_type"]
        stem = kind.removesuffix("ImageProcessor").removesuffix("FeatureExtractor")
        processor = getattr(transformers, f"{stem}ImageProcessorPil").from_dict(dict(config))
        configurations[name] = json.loads(processor.to_json_string()) if name in WHOLE else config
        for number, photo in enumerate(photos()):
            pixels = processor(photo, return_tensors="np", input_data_format="channels_last")["pixel_values"][0]
            arrays[f"{name}/{number}"] = kept(np.asarray(pixels, np.float32).transpose(1, 2, 0))
    for name, config in FLOATS.items():
        configurations[name] = config
        for number, photo in enumerate(photos()):
            arrays[f"{name}/{number}"] = floats_resized(photo, {2: "bilinear", 3: "bicubic"}[config.get("resample", 2)])
    text = json.dumps(configurations, indent=1)
    np.savez_compressed(GOLDEN, configurations=np.array(text), **arrays)


if __name__ == "__main__":
    main()
