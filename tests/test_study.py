"""A few lines of configuration become many models."""

import pytest
import yaml

from cellmae.config import validate
from cellmae.errors import ConfigError
from cellmae.study import line_of, with_study

STUDY = {
    "mae": {"family": "mae", "patch": 8, "vary": {"size": ["tiny", "small"], "plates": [2], "seed": [0, 1]}},
    "alone": {"family": "untrained", "vary": {"layer_scale": [0.1]}},
}


def test_a_line_stands_for_all_combinations():
    models = with_study({"models": {"intensity": {"family": "intensity"}}, "study": STUDY})["models"]
    assert list(models) == [
        "intensity", "mae-tiny-n2-s0", "mae-tiny-n2-s1", "mae-small-n2-s0", "mae-small-n2-s1", "alone-layer_scale0_1",
    ]  # fmt: skip
    assert models["mae-small-n2-s1"] == {"family": "mae", "patch": 8, "size": "small", "plates": 2, "seed": 1}


def test_models_and_their_points_know_their_line():
    found = {name: line_of(name, STUDY) for name in ("mae-tiny-n2-s0", "mae-tiny-n2-s0-at-5000", "mae-tiny", "alone")}
    assert found == {"mae-tiny-n2-s0": "mae", "mae-tiny-n2-s0-at-5000": "mae", "mae-tiny": None, "alone": None}


@pytest.mark.parametrize("vary", [None, {}, {"seed": []}, {"seed": 3}, ["seed"]])
def test_nothing_to_vary_is_refused(vary):
    with pytest.raises(ConfigError, match=r"^study.mae.vary: found .*expected keys of a model with lists of values"):
        with_study({"study": {"mae": {"family": "mae", "vary": vary}}})


def test_a_name_that_there_is_already_is_refused():
    with pytest.raises(ConfigError, match=r"^study.mae: gives a model the name mae-s0, which there is already$"):
        with_study({"models": {"mae-s0": {}}, "study": {"mae": {"vary": {"seed": [0]}}}})
    lines = {
        "mae": {"family": "mae", "patch": 8, "vary": {"size": ["tiny"], "seed": [0]}},
        "mae-tiny": {"family": "mae", "size": "tiny", "vary": {"seed": [0, 1]}},
    }
    for study in (lines, dict(reversed(lines.items()))):
        with pytest.raises(ConfigError, match=r"gives a model the name mae-tiny-s0, which there is already$"):
            with_study({"study": study})
    with pytest.raises(ConfigError, match=r"^study.mae: there is a model of this name, too"):
        with_study({"models": {"mae": {"family": "mae"}}, "study": {"mae": {"family": "mae", "vary": {"seed": [0]}}}})


def test_a_line_is_against_a_model_that_there_is():
    line = {"family": "mae", "vary": {"mask_ratio": [0.25]}}
    models = {"mae": {"family": "mae", "points": [2000]}}
    for against in ("mae", "mae-at-2000", "mask-m0_25"):
        found = with_study({"models": models, "study": {"mask": line | {"against": against}}})["models"]
        assert found["mask-m0_25"] == {"family": "mae", "mask_ratio": 0.25}
    for against in ("mea", "mae-at-999", "mask-m0_25-at-2000"):
        with pytest.raises(
            ConfigError, match=rf"^study.mask.against: found '{against}', expected one of the models mae"
        ):
            with_study({"models": models, "study": {"mask": line | {"against": against}}})


def test_models_of_a_study_are_checked_like_others(repository):
    schema = repository / "workflow/schemas/config.schema.yaml"
    config = yaml.safe_load((repository / "config.yaml").read_text()) | {"study": STUDY}
    models = validate(config, schema)["models"]
    assert models["mae-tiny-n2-s0"]["mask_ratio"] == 0.75
    STUDY["mae"]["vary"]["patch"] = [8, 7]
    with pytest.raises(ConfigError, match=r"^models.mae-tiny-n2-s0-p7.patch: found 7, which does not divide"):
        validate(config, schema)
    STUDY["mae"]["vary"].pop("patch")
