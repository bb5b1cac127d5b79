"""All scores of a map together: what they find, and that nothing is found where there is nothing."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from cellmae.errors import DataError
from cellmae.maps import aggregate, build_map, cosine_matrix, score_replicates

ARMS = pd.Series(np.repeat(["1p", "2q", "3p"], 8), index=[f"gene{number}" for number in range(24)])
SHARES = ("consistency_share", "activity_share", "magnitude_share")


def score(adata, folder, *, arms=ARMS, expression=None, potencies=None):
    """Return the table of scores, by score and representation, and the map."""
    for name, facts in (("arm", arms), ("zfpkm", expression)):
        if facts is not None:
            facts.rename(name).rename_axis("gene").to_csv(folder / f"{name}.csv")
    adata.write_h5ad(folder / "wells.h5ad")
    paths = {name: folder / name for name in ("treatments", "map", "replicates", "proximity", "compounds")}
    build_map(
        folder / "wells.h5ad",
        model="mae",
        alignment="tvn",
        treatments=paths["treatments"],
        output=paths["map"],
        manifest=folder / "map.json",
        arms=arms if arms is None else folder / "arm.csv",
        expression=expression if expression is None else folder / "zfpkm.csv",
        scores={"draws": 999},
    )
    score_replicates(
        folder / "wells.h5ad",
        paths["map"],
        paths["treatments"],
        output=paths["replicates"],
        proximity=paths["proximity"],
        compounds=paths["compounds"],
        arms=arms if arms is None else folder / "arm.csv",
        potencies=potencies,
        replicates=100,
    )
    table = pd.read_csv(paths["replicates"], keep_default_na=False, na_values=[""])
    return table.set_index(["score", "representation"]), anndata.read_h5ad(paths["map"])


def with_profiles(adata, X):
    """Give wells the same profiles in all representations."""
    X = X.astype(np.float32)
    return AnnData(X, obs=adata.obs, obsm={"X_pca": X, "X_tvn": X}, uns=adata.uns)


def test_effects_are_found_in_every_score(wells, tmp_path):
    adata, _ = wells(noise=0.4)
    adata.obsm["X_pca"] = adata.obsm["X_tvn"]
    table, genes = score(adata, tmp_path)
    for name in ("consistency", "activity", "magnitude", "treatments", "knn_probe", "linear_probe"):
        row = table.loc[(name, "X_tvn")]
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
        assert row["ci_low"] > row["chance"]
        assert row["p_value"] < 0.05
        assert (row["perturbations"], row["wells"]) == (24, 192)
    assert (table.loc[[(share, "X_tvn") for share in SHARES], "value"] > 0.9).all()
    assert table.loc[("kolmogorov_smirnov", "X_tvn"), "ci_low"] > 0.3
    assert table.loc[("batch_purity", "X"), "value"] == pytest.approx(0.5, abs=0.05)
    assert table.loc[("compound_gene", "X_tvn"), "reason"] == "no table of potencies (maps.compound_targets)"
    columns = ["role", "wells", "treatments", "batches", "arm"]
    columns += [f"{name}{end}" for name in ("consistency", "activity", "magnitude") for end in ("", "_p_value", "_fdr")]
    assert genes.obs[columns].notna().all(axis=None)
    manifest = json.loads((tmp_path / "map.json").read_text())
    assert manifest["scores"]["activity_controls"] == 24
    assert set(pd.read_csv(tmp_path / "proximity")["arm"]) == {"all", "1p", "2q", "3p"}


def test_same_seed_same_files(wells, tmp_path):
    adata, _ = wells()
    adata.obsm["X_pca"] = adata.obsm["X_tvn"]
    files = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        score(adata.copy(), tmp_path / name)
        files.append([(tmp_path / name / file).read_bytes() for file in ("replicates", "proximity", "map.json")])
    assert files[0] == files[1]


@pytest.mark.parametrize("kind", ["constant", "zero", "parallel", "random"])
def test_embeddings_without_information_score_chance_or_nothing(wells, tmp_path, kind):
    adata, _ = wells(plates=6)
    generator = np.random.default_rng(0)
    X = {
        "constant": np.full((adata.n_obs, 16), 0.37),
        "zero": np.zeros((adata.n_obs, 16)),
        "parallel": np.outer(generator.uniform(1, 2, adata.n_obs), np.linspace(0.1, 1, 16)),
        "random": generator.normal(size=(adata.n_obs, 16)),
    }[kind]
    rows = [("gene0", f"gene{number}", 10.0 if number < 3 else 1e5) for number in range(1, 24)]
    pd.DataFrame(rows, columns=["compound", "gene", "potency_nM"]).to_csv(tmp_path / "potencies.csv", index=False)
    table, genes = score(with_profiles(adata, X), tmp_path, potencies=tmp_path / "potencies.csv")
    scored = table.dropna(subset="value")
    against = scored.dropna(subset="chance").drop(index="magnitude", level="score")
    tolerance = {"kolmogorov_smirnov": 0.05, "proximity_bias": 0.1, "treatments": 0.1}
    if kind == "random":  # one compound is no average
        against = against.drop(index="compound_gene", level="score")
    for (name, _), row in against.iterrows():
        if name != "consistency" or kind == "random":  # parallel replicates are alike, and so are all other wells
            assert row["value"] == pytest.approx(row["chance"], abs=tolerance.get(name, 0.04)), name
    if kind in ("constant", "parallel"):
        assert scored.loc[("consistency", "X_tvn"), ["value", "chance"]].to_numpy(float) == pytest.approx(1)
    assert scored.loc[("magnitude", "X_tvn"), "value"] == pytest.approx(0, abs=0.05)
    for share in SHARES:
        if (share, "X_tvn") in scored.index:
            assert scored.loc[(share, "X_tvn"), "value"] <= (0.15 if kind == "random" else 0)
    if kind == "zero":
        assert set(scored.index.get_level_values("score")) == {"magnitude", "magnitude_share"}
        assert table.drop(scored.index)["reason"].str.len().gt(5).all()
        assert genes.obs[["consistency", "activity"]].isna().all(axis=None)


def test_profiles_of_zeros_among_others_are_left_out_and_counted(wells, tmp_path):
    adata, _ = wells(noise=0.4)
    X = adata.obsm["X_tvn"].copy()
    X[(adata.obs["perturbation"] == "gene3").to_numpy()] = 0
    table, genes = score(with_profiles(adata, X), tmp_path)
    assert genes.obs.loc["gene3", ["consistency", "activity", "activity_p_value"]].isna().all()
    assert genes.obs.loc["gene3", "magnitude_p_value"] < 1
    assert table.loc[("activity", "X_tvn"), "perturbations"] == 23
    assert json.loads((tmp_path / "map.json").read_text())["scores"]["wells_without_direction"] == 8


def test_screens_without_controls_replicates_or_batches_give_reasons(wells, tmp_path):
    adata, _ = wells(guides=1, plates=1)
    adata = adata[adata.obs["role"] != "negative_control"].copy()
    adata.obsm["X_pca"] = adata.obsm["X_tvn"]
    table, _ = score(adata, tmp_path, arms=None)
    assert table["value"].isna().all()
    assert table["reason"].notna().all()
    assert table.loc[("activity", "X_tvn"), "reason"].endswith("or there are no negative controls")
    assert table.loc[("proximity_bias", "X_tvn"), "reason"] == "no table of chromosome arms (genes.arms)"


def test_few_perturbations_and_batches_of_one_well_are_scored(wells, tmp_path):
    adata, _ = wells(genes=3, plates=5)
    adata.obs["batch"] = np.where(np.arange(adata.n_obs) == 0, "alone", adata.obs["batch"].astype(str))
    adata.obsm["X_pca"] = adata.obsm["X_tvn"]
    table, genes = score(adata, tmp_path)
    assert table.loc[("activity", "X_tvn"), "perturbations"] == 3
    assert genes.n_obs == 3


def test_unexpressed_genes_make_the_null_where_there_are_enough(wells, tmp_path):
    adata, _ = wells()
    adata.obsm["X_pca"] = adata.obsm["X_tvn"]
    silent = pd.Series(-5.0, index=ARMS.index)
    for expression, source, count in ((silent, "unexpressed", 192), (silent.iloc[:5], "perturbations", 192)):
        score(adata, tmp_path, expression=expression)
        counts = json.loads((tmp_path / "map.json").read_text())["scores"]
        assert (counts["consistency_null"], counts["consistency_null_wells"]) == (source, count)


def test_compounds_are_scored_beside_genes(wells, tmp_path):
    adata, _ = wells(genes=40, noise=0.2)
    adata.obsm["X_pca"] = adata.obsm["X_tvn"]
    names = [f"gene{number}" for number in range(40)]
    genes = aggregate(adata)[1][names]
    order = np.argsort(-np.abs(cosine_matrix(genes.X)), axis=1)
    rows = [(names[n], names[order[n, 1]], 10.0) for n in range(5)]
    rows += [(names[n], names[order[n, place]], 1e5) for n in range(5) for place in range(10, 40)]
    pd.DataFrame(rows, columns=["compound", "gene", "potency_nM"]).to_csv(tmp_path / "potencies.csv", index=False)
    table, _ = score(adata, tmp_path, potencies=tmp_path / "potencies.csv")
    row = table.loc[("compound_gene", "X_tvn")]
    assert row["ci_low"] > row["chance"]
    assert row["chance"] == pytest.approx(np.mean(1 / np.arange(1, 22)))
    assert row["perturbations"] == len(pd.read_csv(tmp_path / "compounds")) == 5


def test_tables_about_other_genes_are_refused(wells, tmp_path):
    adata, _ = wells()
    adata.obsm["X_pca"] = adata.obsm["X_tvn"]
    with pytest.raises(DataError, match=r"^genes\.arms: none of the screen's 24 genes \(gene0, .* \(YAL001C\)"):
        score(adata, tmp_path, arms=pd.Series({"YAL001C": "1p"}))
