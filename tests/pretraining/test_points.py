"""What a training keeps on its way: models of their own, the same whatever happened to it."""

import signal

import pytest

from cellmae.errors import ConfigError
from cellmae.models import build_baseline, load_encoder, read_model, with_points
from cellmae.pretraining import Plan

from .conftest import CHANNELS, CROP
from .test_run import assert_same, stop_midway

pytestmark = pytest.mark.slow

POINTS = [20, 48]


@pytest.fixture(scope="module")
def trained(plates, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "mae"
    plates.pretrain(folder, points=POINTS)
    return folder


def kept(folder):
    return {crops: read_model(folder / "points" / str(crops)) for crops in POINTS}


def test_a_point_is_the_model_after_as_many_crops(plates, trained, tmp_path):
    found = kept(trained)
    assert {crops: record["training"]["crops"] for crops, record in found.items()} == {20: 24, 48: 48}
    whole = read_model(trained)["training"]
    assert found[48]["training"]["flops"] == pytest.approx(whole["flops"] / 2)
    digests = {record["weights_digest"] for record in (*found.values(), read_model(trained))}
    assert len(digests) == 3
    plates.pretrain(tmp_path)
    assert_same(tmp_path, trained)


def test_points_outlive_an_interruption(plates, trained, tmp_path):
    stop_midway(plates, tmp_path, signal.SIGKILL, points=POINTS, checkpoint_minutes=0)
    plates.pretrain(tmp_path, points=POINTS, checkpoint_minutes=0)
    assert kept(tmp_path) == kept(trained)


def test_points_that_were_asked_for_too_late_begin_the_training_afresh(plates, trained, tmp_path, caplog):
    caplog.set_level("INFO")
    plates.pretrain(tmp_path)
    plates.pretrain(tmp_path, points=POINTS)
    assert "the training has passed [20, 48] crops and kept nothing: it begins afresh" in caplog.text
    assert kept(tmp_path) == kept(trained)


def test_a_point_becomes_a_model_beside_its_own(trained):
    spec = with_points({"mae": {"family": "mae", "points": POINTS}})
    assert list(spec) == ["mae", "mae-at-20", "mae-at-48"]
    for crops in POINTS:
        folder = trained.parent / f"mae-at-{crops}"
        build_baseline(spec[folder.name], channels=CHANNELS, crop_size=CROP, folder=folder)
        assert read_model(folder)["weights_digest"] == kept(trained)[crops]["weights_digest"]
        assert load_encoder(folder).dim == 128


def test_names_and_numbers_that_cannot_be():
    with pytest.raises(ConfigError, match=r"^models.mae-at-20: this is what a point of mae is called"):
        with_points({"mae": {"family": "mae", "points": [20]}, "mae-at-20": {"family": "intensity"}})
    with pytest.raises(ConfigError, match=r"^models.points: found 100, expected crops before the last, 100"):
        Plan.from_spec({"family": "mae", "crops_total": 100, "points": [50, 100]})
