"""Real profiles, screen to recall, against what the peer's own code gives.

The expected numbers come from efaar_benchmarking 1.0 on the 1,092 wells of Rohban et al. 2017 (eLife 6, e24060).
"""

import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from cellmae.alignment import annotate, fit_alignment
from cellmae.maps import aggregate, read_relationships, recall

SOURCES = ("CORUM", "HuMAP", "Reactome", "SIGNOR", "StringDB")
THRESHOLDS = ((0.05, 0.95), (0.1, 0.9))


@pytest.fixture(scope="module")
def screen(test_data):
    """Wells of overexpressed genes; all other wells are negative controls."""
    table = pd.read_parquet(test_data / "ta_orf" / "wells.parquet")
    features = [name for name in table if not name.startswith("Metadata_")]
    wells = pd.DataFrame({"plate": table["Metadata_Plate"], "well": table["Metadata_Well"]})
    wells["batch"] = wells["plate"]
    wells["row"] = [ord(well[0]) - ord("A") + 1 for well in wells["well"]]
    wells["column"] = [int(well[1:]) for well in wells["well"]]
    wells["perturbation"] = wells["treatment"] = table["Metadata_gene"]
    wells["role"] = np.where(table["Metadata_pert_type"] == "trt_oe", "treatment", "negative_control")
    obs = wells[["plate", "well", "row", "column"]].set_axis(table.index.astype(str))
    return annotate([AnnData(table[features].to_numpy(), obs=obs)], [wells])


@pytest.fixture(scope="module")
def expected(test_data):
    return json.loads((test_data / "expected" / "ta_orf_pca_tvn_recall.json").read_text())


@pytest.fixture(scope="module")
def relationships(test_data):
    return {source: read_relationships(test_data / "relationships" / f"{source}.txt") for source in SOURCES}


@pytest.fixture(scope="module", params=[50, 100])
def aligned(request, screen):
    alignment = fit_alignment(screen, method="efaar", pca=request.param, batch="plate")
    return request.param, alignment.apply(screen.copy())


def test_aligned_wells_have_the_expected_norm_and_cosines(aligned, expected):
    components, adata = aligned
    X = adata.obsm["X_tvn"].astype(float)
    assert X.shape == (1092, components)
    assert np.linalg.norm(X) == pytest.approx(expected[str(components)]["tvn_frobenius"], rel=1e-6)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    cosines = expected[str(components)]["well0_cosine_to_wells_1_to_5"]
    np.testing.assert_allclose(unit[1:6] @ unit[0], cosines, atol=1e-6)


def test_recalls_are_the_expected_ones(aligned, expected, relationships):
    components, adata = aligned
    _, genes = aggregate(adata)
    assert genes.n_obs == expected[str(components)]["n_genes"]
    table, _ = recall(genes, relationships, thresholds=THRESHOLDS, replicates=0)
    for row in expected[str(components)]["table"]:
        found = table[table["source"] == row["source"]].set_index("low")
        assert (found["pairs"] == row["query_distribution_size"]).all()
        for low, high in THRESHOLDS:
            difference = found.loc[low, "recall"] - row[f"recall_{low}_{high}"]
            assert abs(difference) * row["query_distribution_size"] < 1


@pytest.mark.parametrize("components", [50, 100])
def test_the_default_alignment_is_sane_beside_it(screen, relationships, components):
    alignment = fit_alignment(screen, method="tvn", pca=components, batch="plate")
    adata = alignment.apply(screen.copy())
    controls = (adata.obs["role"] == "negative_control").to_numpy()
    assert 0 < alignment.steps.whitening.borrowed < 1
    assert 0.5 < adata.obsm["X_tvn"][controls].std() < 1.5
    table, _ = recall(aggregate(adata)[1], relationships, replicates=0)
    assert (table["recall"] > table["chance"]).all()
