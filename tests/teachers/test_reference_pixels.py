"""What a model is shown equals, to 1e-5, the pixels that the published image processors themselves made."""

import json

import numpy as np
import pytest
from reference_processors import FLOATS, GOLDEN, OLD, WHOLE, kept, photos

from kdistill.teachers.providers.processor_config import read_recipe
from kdistill.teachers.providers.processors import PROCESSORS


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.mark.parametrize("name", [*WHOLE, *OLD, *FLOATS])
def test_pixels_of_the_published_processors(tmp_path, golden, name):
    config = json.loads(str(golden["configurations"]))[name]
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(config))
    recipe = read_recipe(path)
    for number, photo in enumerate(photos()):
        shown = kept(recipe.apply(photo))
        assert shown.shape == golden[f"{name}/{number}"].shape
        np.testing.assert_allclose(shown, golden[f"{name}/{number}"], atol=1e-5, rtol=0)


def test_every_known_processor_was_compared(golden):
    configurations = json.loads(str(golden["configurations"])).values()
    kinds = {config.get("image_processor_type") or config["feature_extractor_type"] for config in configurations}
    stems = {
        kind.removesuffix("Fast").removesuffix("ImageProcessor").removesuffix("FeatureExtractor") for kind in kinds
    }
    assert stems == PROCESSORS.keys()
    assert configurations
    assert len(golden) == 1 + len(photos()) * len(configurations)
    assert all(array.std() > 0.05 for name, array in golden.items() if name != "configurations")
