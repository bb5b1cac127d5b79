"""A checkpoint of the published layout, with random weights, puts plates on a map."""

import json

import anndata
import pytest
import torch

from cellmae.files import read_json
from cellmae.models import load_encoder
from cellmae.screen.simulation import simulate_plate, write_truth

SIMULATION = {
    "experiments": 1, "plates": 1, "genes": 3, "guides": 2, "rows": 2, "columns": 4, "control_share": 0.375,
    "fields": 1, "size": 256, "strength": 1.0, "seed": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(test_data, tmp_path_factory):
    """A folder as the authors' own code saves it; the decoder, which embeds nothing, is zero and takes no space."""
    folder = tmp_path_factory.mktemp("OpenPhenom")
    layout = read_json(test_data / "expected" / "openphenom_s16_keys.json")
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(shape, generator=generator) * 0.02
        if name.startswith("encoder.")
        else torch.zeros(1).expand(shape)
        for name, shape in layout.items()
    }
    torch.save({"state_dict": weights}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "MAE", "mask_ratio": 0.75}))
    return folder


@pytest.fixture(scope="module")
def results(run_configuration, checkpoint, tmp_path_factory):
    plates = tmp_path_factory.mktemp("plates")
    write_truth(SIMULATION, root=plates)
    simulate_plate(SIMULATION, root=plates, experiment="gene-001", plate=1, manifest=plates / "gene-001_Plate1.json")
    variables = {"OPENPHENOM": str(checkpoint), "CELLMAE_PLATES": str(plates)}
    return run_configuration("configs/openphenom.yaml", **variables) / "results" / "openphenom"


def test_wells_are_embedded_as_a_whole_and_channel_by_channel(results):
    for model, dim in (("openphenom", 384), ("openphenom-channels", 6 * 384)):
        wells = anndata.read_h5ad(results / "alignment" / model / "tvn.h5ad")
        assert wells.shape == (8, dim)
        assert wells.X.std(axis=0).min() > 0
        assert (results / "maps" / model / "efaar" / "map.h5ad").exists()
    whole, parts = (
        anndata.read_h5ad(results / "alignment" / model / "tvn.h5ad").X
        for model in ("openphenom", "openphenom-channels")
    )
    assert parts.reshape(8, 6, 384).mean(axis=1) == pytest.approx(whole, rel=1e-4, abs=1e-5)


def test_the_run_holds_the_encoder_and_can_do_without_the_checkpoint(results):
    encoder = load_encoder(results / "models" / "openphenom")
    crops = torch.randint(0, 256, (1, 3, 256, 256), dtype=torch.uint8)
    assert encoder.embed(crops).shape == (1, 384)  # of any number of channels


def test_the_report_says_why_there_is_no_score(results):
    assert "of at least 20" in (results / "report" / "index.html").read_text()
