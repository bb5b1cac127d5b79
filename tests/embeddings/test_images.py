import logging
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from cellmae.embeddings import read_embeddings
from cellmae.embeddings.images import crops_at_once
from cellmae.errors import DamagedError, DataError
from cellmae.files import read_manifest
from cellmae.models import build_encoder, load_encoder, save_encoder
from cellmae.tiles import open_store, read_tiles
from cellmae.tiles.store import chunk_path

from .conftest import CHANNELS, CROP


def change_tiles(plate, **changes):
    """Rewrite the tile table; ``changes`` map a column to a function of the table."""
    tiles = read_tiles(plate.table)
    tiles.assign(**changes).to_parquet(plate.table)


def test_a_well_is_the_mean_of_its_tiles(plate, make_model):
    model = make_model()
    plate.embed(model)
    adata = read_embeddings(plate.output)
    assert adata.obs_names.tolist() == ["e1_p_A01", "e1_p_A02", "e1_p_A03"]
    assert adata.X.dtype == np.float32

    images = open_store(plate.store).images.values
    tiles = images[2:4].reshape(2, 2, 3, CROP, 3, CROP).transpose(0, 2, 4, 1, 3, 5).reshape(18, 2, CROP, CROP)
    with torch.inference_mode():
        expected = load_encoder(model).embed(torch.from_numpy(tiles.copy())).double().mean(0)
    np.testing.assert_allclose(adata["e1_p_A02"].X[0], expected, rtol=1e-4, atol=1e-6)


def test_the_wells_are_described(plate, make_model):
    plate.embed(make_model())
    obs = read_embeddings(plate.output).obs
    assert obs.columns.tolist() == [
        "plate", "plate_name", "batch", "well", "row", "column", "fields", "crops",
        "mean_nuclei", "mean_actin", "sd_nuclei", "sd_actin", "foreground",
    ]  # fmt: skip
    assert obs["foreground"].between(0, 1).all()
    assert obs["column"].tolist() == [1, 2, 3]
    assert obs["fields"].tolist() == [2, 2, 2]
    assert obs["crops"].tolist() == [18, 18, 18]
    pixels = open_store(plate.store).images.values.reshape(3, 2, len(CHANNELS), -1)
    np.testing.assert_allclose(obs["mean_actin"], pixels[:, :, 1].mean((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_batches_do_not_matter(plate, make_model, batch_size):
    model = make_model()
    plate.embed(model)
    expected = read_embeddings(plate.output).X
    plate.embed(model, batch_size=batch_size)
    np.testing.assert_allclose(read_embeddings(plate.output).X, expected, rtol=1e-4, atol=1e-6)


def test_the_same_again_has_the_same_digest(plate, make_model):
    model = make_model()
    plate.embed(model)
    first = plate.manifest.read_bytes()
    plate.embed(model)
    assert plate.manifest.read_bytes() == first
    plate.embed(make_model(seed=1))
    assert plate.manifest.read_bytes() != first


def test_a_wells_vector_does_not_depend_on_the_other_wells(plate, make_model):
    model = make_model()
    plate.embed(model)
    together = read_embeddings(plate.output)
    change_tiles(plate, keep=lambda tiles: tiles["well"] != "A01")
    plate.embed(model)
    assert np.array_equal(read_embeddings(plate.output)["e1_p_A03"].X, together["e1_p_A03"].X)


def test_tiles_that_were_not_kept_do_not_count_and_lost_wells_are_listed(plate, make_model, caplog):
    change_tiles(
        plate, keep=lambda tiles: (tiles["well"] != "A02") & ((tiles["well"] != "A01") | (tiles["field"] == 1))
    )
    with caplog.at_level(logging.WARNING):
        plate.embed(make_model())
    obs = read_embeddings(plate.output).obs
    assert obs["well"].tolist() == ["A01", "A03"]
    assert obs["fields"].tolist() == [1, 2]
    assert obs["crops"].tolist() == [9, 18]
    manifest = read_manifest(plate.manifest, stage="embeddings")
    assert manifest["lost"] == [{"well": "A02", "reason": "no tile was kept"}]
    assert (manifest["wells"], manifest["dim"], manifest["crops"]) == (2, 128, 27)
    assert "A02" in caplog.text


def test_a_well_whose_fields_were_all_lost_is_listed(plate, make_model):
    change_tiles(
        plate,
        keep=lambda tiles: tiles["well"] != "A03",
        field=lambda tiles: tiles["field"].where(tiles["well"] != "A03", -1),
    )
    plate.embed(make_model())
    assert read_manifest(plate.manifest, stage="embeddings")["lost"][0]["well"] == "A03"


def test_the_model_is_named(plate, make_model):
    plate.embed(make_model())
    source = read_embeddings(plate.output).uns["cellmae"]
    manifest = read_manifest(plate.manifest, stage="embeddings")
    assert source["stage"] == "embeddings"
    assert source["model"] == manifest["model"] == "untrained"
    assert source["weights_digest"] == manifest["weights_digest"] != ""


@pytest.mark.parametrize("family", ["intensity", "constant"])
def test_baselines_embed_too(plate, make_model, family):
    plate.embed(make_model(family=family))
    adata = read_embeddings(plate.output)
    assert adata.n_obs == 3
    if family == "intensity":
        np.testing.assert_allclose(adata.X[:, 0], adata.obs["mean_nuclei"], rtol=1e-4)


@pytest.mark.parametrize("options", [{"channels": ["nuclei", "er"]}, {"channels": ["nuclei"]}, {"crop_size": 32}])
def test_a_model_of_other_crops_is_refused(plate, make_model, options):
    with pytest.raises(DataError, match=r"p\.zarr holds 16 pixels and nuclei, actin"):
        plate.embed(make_model(**options))
    assert not plate.output.exists()


def test_a_plate_without_kept_tiles_is_refused(plate, make_model):
    change_tiles(plate, keep=False)
    with pytest.raises(DataError, match="no tile was kept"):
        plate.embed(make_model())


def test_damaged_embeddings_are_named(plate, make_model):
    plate.embed(make_model())
    plate.output.write_bytes(plate.output.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"p\.h5ad is damaged"):
        read_embeddings(plate.output)
    with pytest.raises(DataError, match="missing"):
        read_embeddings(plate.output.with_name("q.h5ad"))
    plate.output.unlink()
    with pytest.raises(DamagedError, match="it is missing"):
        read_embeddings(plate.output)


def test_altered_vectors_are_not_what_their_manifest_says(plate, make_model):
    plate.embed(make_model())
    content = bytearray(plate.output.read_bytes())
    place = content.index(read_embeddings(plate.output).X[1].tobytes())
    content[place] ^= 1
    plate.output.write_bytes(content)
    with pytest.raises(DamagedError, match=r"p\.h5ad is damaged \(it is not what its manifest says\)") as caught:
        read_embeddings(plate.output)
    assert caught.value.manifest == plate.manifest


def test_altered_pixels_are_not_embedded(plate, make_model):
    chunk = chunk_path(plate.store, 1)
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"\1")
    with pytest.raises(DamagedError, match=r"p\.zarr: A.. site . was altered"):
        plate.embed(make_model())


def test_wells_can_be_joined_across_plates(plate, make_model):
    """Observation names hold the plate, so that concatenation keeps them apart."""
    plate.embed(make_model())
    adata = read_embeddings(plate.output)
    assert adata.obs_names.is_unique
    assert (adata.obs["plate"].astype(str) + "_" + adata.obs["well"].astype(str) == adata.obs_names).all()
    assert pd.api.types.is_integer_dtype(adata.obs["row"])


@pytest.fixture
def save_classifier(tmp_path):
    """Return a function that writes a classifier's encoder, as its training would, with or without AdaBN."""

    def save(*, adabn: bool):
        spec = {"family": "classifier", "architecture": "densenet-tiny", "adabn": adabn}
        torch.manual_seed(0)
        encoder = build_encoder(spec, channels=2, crop_size=16)
        folder = tmp_path / f"classifier-{adabn}"
        save_encoder(folder, encoder, spec=spec, channels=["nuclei", "actin"], crop_size=16)
        return folder

    return save


def vectors_of(plate, model, **changes):
    plate.embed(model, **changes)
    return read_embeddings(plate.output).X


def test_with_adabn_vectors_follow_the_statistics_of_the_batch(plate, save_classifier):
    plain, adapted = (vectors_of(plate, save_classifier(adabn=adabn)) for adabn in (False, True))
    assert not np.allclose(plain, adapted, rtol=0.1)
    again = vectors_of(plate, save_classifier(adabn=True))
    assert np.array_equal(again, adapted)
    own = vectors_of(plate, save_classifier(adabn=True), batch_plates=[plate.root / "p.json"])
    assert np.array_equal(own, adapted)


def test_with_adabn_other_plates_can_stand_for_the_batch(plate, save_classifier, tmp_path):
    adapted = vectors_of(plate, save_classifier(adabn=True))
    other = tmp_path / "other.json"
    shutil.copytree(plate.store, other.with_suffix(".zarr"))
    tiles = pd.read_parquet(plate.table)
    tiles.assign(keep=tiles["keep"] & (tiles["well"] == "A03")).to_parquet(other.with_suffix(".parquet"))
    moved = vectors_of(plate, save_classifier(adabn=True), batch_plates=[other])
    assert not np.allclose(moved, adapted, rtol=1e-3)


def test_large_crops_are_embedded_few_at_a_time_on_cpus():
    cpu = torch.device("cpu")
    assert [crops_at_once(cpu, size) for size in (16, 64, 128, 256, 1024)] == [256, 64, 16, 4, 1]
    assert crops_at_once(torch.device("meta"), 256) == 256
