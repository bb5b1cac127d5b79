import re

import numpy as np
import pandas as pd
import pytest
import torch

from cellmae.errors import DataError
from cellmae.models import read_model
from cellmae.pretraining import Plan, granted_nodes, granted_ranks, pretrain
from cellmae.pretraining.labels import choose_classes, encode, perturbations
from cellmae.pretraining.plates import open_plates

from .conftest import CROP, SPEC

CLASSIFIER = {"family": "classifier", "architecture": "densenet-tiny"}


def opened(plates, spec=CLASSIFIER, **changes):
    plan = Plan(crops_total=400, batch_size=8, **changes)
    return open_plates(spec, plan, plates.manifests, plates.wells, crop_size=CROP), plan


def test_labels_are_those_of_the_wells(plates):
    found, _ = opened(plates)
    assert found.classes == ["EMPTY_control", "PSMA1", "PSMB2"]
    for step in (0, 3):
        labels = found.crops.labels(step, seed=1, batch_size=40)
        fields, _, _ = found.crops._sources[0].corners(step, seed=1, batch_size=40)
        # Wells 1, 2, 3 of each plate hold these genes, and each well is a field.
        assert np.array_equal(labels, np.array([1, 2, 0, 1, 2, 0])[fields])
    assert np.array_equal(
        found.crops.labels(0, seed=1, batch_size=40, start=7, stop=12),
        found.crops.labels(0, seed=1, batch_size=40)[7:12],
    )


def test_models_without_labels_have_none(plates):
    found, _ = opened(plates, {"family": "mae"})
    assert found.crops.labels(0, seed=0, batch_size=8) is None
    assert not found.classes


def test_perturbations_of_one_well_are_named_and_left_out(make_plates, caplog):
    plates = make_plates(0)
    stores = [path.with_suffix(".zarr") for path in plates.manifests]
    named = perturbations(stores, plates.wells)
    with pytest.raises(DataError, match="at least 2 perturbations of 2 wells each"):
        choose_classes(stores, named)
    assert "EMPTY_control, PSMA1, PSMB2" in caplog.text
    assert encode(named, ["PSMA1", "other"])[0].tolist() == [0, -1, -1]


def test_with_adabn_a_batch_is_of_one_experimental_batch(make_plates):
    plates = make_plates(0, 1)
    for place, manifest in enumerate(plates.manifests):
        _rename_batch(manifest.with_suffix(".zarr"), f"batch{place}")
    found, plan = opened(plates, adabn=True)
    assert len(found.crops._sources) == 2
    together = open_plates({"family": "mae"}, Plan(), plates.manifests, crop_size=CROP).crops
    pixels = [
        set(source.batch(0, seed=0, batch_size=500).reshape(500, -1)[:, 0].tolist()) for source in found.crops._sources
    ]
    assert pixels[0] != pixels[1]
    groups = [found.crops._group_of(step) for step in range(plan.steps)]
    assert 0.25 < np.mean(groups) < 0.75
    assert found.crops.n_tiles == together.n_tiles
    for step in (0, 1, plan.steps + 1):
        source, turn = found.crops._at(step)
        assert np.array_equal(found.crops.batch(step, seed=2, batch_size=8), source.batch(turn, seed=2, batch_size=8))


def test_an_experimental_batch_without_tiles_is_left_out(make_plates, caplog):
    plates = make_plates(0, 1)
    for place, manifest in enumerate(plates.manifests):
        _rename_batch(manifest.with_suffix(".zarr"), f"batch{place}")
    table = plates.manifests[0].with_suffix(".parquet")
    pd.read_parquet(table).assign(keep=False).to_parquet(table)
    found, _ = opened(plates, adabn=True)
    assert len(found.crops._sources) == 1
    assert "plate0 and 0 more: no tile was kept" in caplog.text
    assert set(found.crops.labels(0, seed=0, batch_size=40)) == {0, 1, 2}


@pytest.mark.slow
def test_validation_plates_that_tell_nothing_are_replaced(make_plates, tmp_path, caplog):
    plates = make_plates(0, 1)
    table = plates.manifests[1].with_suffix(".parquet")
    pd.read_parquet(table).assign(keep=False).to_parquet(table)
    arguments = plates.arguments(tmp_path)
    arguments |= {"tiles": plates.manifests[:1], "validation_tiles": plates.manifests[1:]}
    pretrain(SPEC | {"crops_total": 8}, **arguments)
    assert "the validation plates tell nothing" in caplog.text
    assert read_model(tmp_path)["training"]["evaluated_on"] == ["plate0"]


def test_on_the_grid_each_group_goes_through_all_its_tiles(make_plates):
    plates = make_plates(0, 1)
    for place, manifest in enumerate(plates.manifests):
        _rename_batch(manifest.with_suffix(".zarr"), f"batch{place}")
    found, plan = opened(plates, adabn=True, crops="grid")
    group = found.crops._group_of(0)
    steps = [step for step in range(plan.steps) if found.crops._group_of(step) == group][:4]
    source = found.crops._sources[group]
    seen = np.concatenate([found.crops.batch(step, seed=0, batch_size=8) for step in steps])[: source.n_tiles]
    assert len(np.unique(seen.reshape(len(seen), -1), axis=0)) == source.n_tiles


def _rename_batch(store, name):
    path = store / "zarr.json"
    path.write_text(re.sub(r'("batch":\s*)"b"', rf'\1"{name}"', path.read_text()))


def test_weights_of_an_average_lie_between():
    from cellmae.pretraining.trainer import WeightAverage

    model = torch.nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.zero_()
        average = WeightAverage(model, 0.5)
        model.weight.fill_(1.0)
        for _ in range(3):
            average.update()
    with average.in_place():
        # decays 1/10, 2/11, 3/12 of the first steps
        assert model.weight.mean().item() == pytest.approx(1 - (1 / 10) * (2 / 11) * (3 / 12))
    assert (model.weight == 1).all()


def test_fewer_gpus_than_wanted_are_said(caplog):
    assert granted_ranks(0, wanted=0) == 1
    assert granted_ranks(4, wanted=4) == 4
    assert not caplog.messages
    assert granted_ranks(1, wanted=4) == 1
    assert "start snakemake with --resources gpu=4" in caplog.text


def test_nodes_are_those_of_a_slurm_job(caplog, monkeypatch, tmp_path):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert granted_nodes(1) == 1
    assert not caplog.messages
    assert granted_nodes(2) == 1
    assert "this is no Slurm job" in caplog.text
    (tmp_path / "srun").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert granted_nodes(2) == 2
