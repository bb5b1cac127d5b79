"""The linear probe on wells whose phenotype is known."""

import anndata
import numpy as np
import pandas as pd
import pytest

from cellmae.errors import DataError
from cellmae.maps import probe, read_truth, score_probe


def test_linear_image_of_the_phenotype_is_read_completely(wells):
    adata, truth = wells(noise=0.01)
    score, genes = probe(adata, truth, replicates=100)
    row = score.iloc[0]
    assert row["r2"] > 0.99
    assert row["r2_ci_low"] <= row["r2"] <= row["r2_ci_high"]
    assert (row["wells"], row["genes"], row["plates"], row["folds"]) == (192, 24, 4, 4)
    assert row["r2"] == pytest.approx(1 - genes["sse"].sum() / genes["sst"].sum())
    assert genes["wells"].eq(8).all()


def test_noise_says_nothing(wells):
    adata, truth = wells()
    adata.obsm["X_tvn"] = np.random.default_rng(0).normal(size=adata.shape)
    assert -0.05 < probe(adata, truth, replicates=0)[0]["r2"].item() < 0.03


def test_constant_representation_says_nothing(wells):
    adata, truth = wells()
    adata.obsm["X_tvn"] = np.ones(adata.shape)
    assert probe(adata, truth, replicates=0)[0]["r2"].item() == pytest.approx(0, abs=1e-6)


def test_more_noise_more_error(wells):
    scores = [probe(*wells(noise=noise), replicates=0)[0]["r2"].item() for noise in (0.1, 1, 4)]
    assert scores[0] > scores[1] > scores[2]


def test_units_of_features_and_phenotypes_do_not_matter(wells):
    adata, truth = wells(noise=1)
    expected = probe(adata, truth, replicates=0)[0]["r2"].item()
    adata.obsm["X_tvn"] = adata.obsm["X_tvn"] * np.logspace(-3, 3, adata.n_vars)
    scaled = truth.assign(size=truth["size"] * 1000, constant=7.0)
    assert probe(adata, scaled, replicates=0)[0]["r2"].item() == pytest.approx(expected, abs=1e-3)


def test_what_a_plate_alone_knows_is_not_read(wells):
    adata, truth = wells()
    target = np.zeros((adata.n_obs, 3))
    treated = (adata.obs["role"] != "negative_control").to_numpy()
    target[treated] = truth.loc[adata.obs["treatment"][treated], ["size", "shape", "texture"]]
    plates = adata.obs["plate"].cat.codes.to_numpy()
    scrambled = [np.linalg.qr(np.random.default_rng(plate).normal(size=(3, 3)))[0] for plate in range(4)]
    adata.obsm["X_tvn"] = np.stack([row @ scrambled[plate] for row, plate in zip(target, plates, strict=True)])
    assert probe(adata, truth, replicates=0)[0]["r2"].item() < 0.5


def test_two_plates_suffice_and_one_is_skipped(wells):
    assert probe(*wells(plates=2, noise=0.1), replicates=0)[0]["r2"].item() > 0.8
    score, genes = probe(*wells(plates=1))
    assert np.isnan(score["r2"].item())
    assert score["reason"].item() == "1 plate, of at least 2 that a held-out score needs"
    assert genes.empty


def test_raw_embeddings_can_be_probed(wells):
    adata, truth = wells()
    by_key, by_name = (probe(adata, truth, representation=name, replicates=0)[0] for name in ("X_tvn", "X"))
    assert by_key["r2"].item() == by_name["r2"].item()


def test_treatment_without_truth_is_an_error(wells):
    adata, truth = wells()
    with pytest.raises(DataError, match="the truth lists no treatment gene0_guide0"):
        probe(adata, truth.iloc[1:])


def test_files_hold_what_the_function_returns(wells, tmp_path):
    adata, truth = wells()
    adata.write_h5ad(tmp_path / "tvn.h5ad")
    truth.to_parquet(tmp_path / "truth.parquet")
    score_probe(
        tmp_path / "tvn.h5ad",
        tmp_path / "truth.parquet",
        output=tmp_path / "probe.csv",
        genes=tmp_path / "probe.parquet",
        replicates=20,
    )
    score, genes = probe(
        anndata.read_h5ad(tmp_path / "tvn.h5ad"), read_truth(tmp_path / "truth.parquet"), replicates=20
    )
    assert pd.read_csv(tmp_path / "probe.csv")["r2"].item() == pytest.approx(score["r2"].item())
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "probe.parquet"), genes)


def test_truth_that_is_none_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read as true phenotypes"):
        read_truth(tmp_path / "truth.parquet")
    pd.DataFrame({"a": [1.0]}).to_parquet(tmp_path / "truth.parquet")
    with pytest.raises(DataError, match="no column perturbation"):
        read_truth(tmp_path / "truth.parquet")
