"""Filter, regression and arm correction, from files to files."""

import anndata
import numpy as np
import pandas as pd
import pytest

from cellmae.alignment import Alignment, align_plates, fit_plates
from cellmae.errors import ConfigError
from cellmae.files import read_manifest

OPTIONS = {
    "pca": 12,
    "limits": {"crops": {"min": 2}, "expressed": -3},
    "regress": ["position", "crops"],
    "arm_correction": {"min_genes": 3},
}


@pytest.fixture
def files(screen, tmp_path):
    """Four plates; genes 0 to 9 are not expressed, genes on two arms."""
    adata = screen(batches=4)
    adata.obs["plate"] = adata.obs["plate"].astype(str)
    number = adata.obs.groupby("plate").cumcount()
    adata.obs["well"] = [f"A{n:03d}" for n in number]
    adata.obs["row"], adata.obs["column"] = 1 + number // 8, 1 + number % 8
    adata.obs["crops"] = 1 + np.random.default_rng(0).permutation(adata.n_obs) % 20
    paths = []
    for plate, own in adata.obs.groupby("plate"):
        path = tmp_path / f"{plate}.h5ad", tmp_path / f"{plate}.wells.parquet"
        own.drop(columns="crops").astype(str).astype({"row": int, "column": int}).to_parquet(path[1])
        measured = adata[own.index].copy()
        measured.obs = measured.obs[["plate", "well", "crops"]]
        measured.write_h5ad(path[0])
        paths.append(path)
    genes = [f"gene{n}" for n in range(20)]
    pd.DataFrame({"gene": genes, "arm": ["1p", "1q"] * 10}).to_csv(tmp_path / "arms.csv", index=False)
    pd.DataFrame({"gene": genes, "zfpkm": [-5.0] * 10 + [2.0] * 10}).to_csv(tmp_path / "zfpkm.csv", index=False)
    return paths


def run(files, folder, *, fitted=None, **options):
    tables = {"arms": folder / "arms.csv", "expression": folder / "zfpkm.csv"}
    embeddings, wells = zip(*files[:fitted], strict=True)
    fit_plates(embeddings, wells, fit=folder / "a.fit.h5", manifest=folder / "a.fit.json", genes=tables, **options)
    embeddings, wells = zip(*files, strict=True)
    align_plates(embeddings, wells, fit=folder / "a.fit.h5", output=folder / "a.h5ad", manifest=folder / "a.json")
    return anndata.read_h5ad(folder / "a.h5ad"), read_manifest(folder / "a.fit.json", stage="alignment")


def test_all_of_it_is_done_and_told(files, tmp_path):
    adata, manifest = run(files, tmp_path, **OPTIONS)
    counts = adata.uns["cellmae"]["wells"]
    assert counts["crops below 2"] == 7
    assert counts["kept"] == adata.n_obs == 128 - 7 - counts["not expressed"]
    assert adata.obs["crops"].min() == 2
    assert not set(adata.obs["perturbation"]) & {f"gene{n}" for n in range(10)}
    assert (adata.obs["role"] == "negative_control").sum() > 40
    assert manifest["arm_correction"] == {"corrected": {"1p": 5, "1q": 5}, "uncorrected": {}}
    assert 0 < manifest["variance_regressed_out"] < 1
    assert manifest["confounding"]["nesting"]["position"] == 1
    assert np.isfinite(adata.obsm["X_tvn"]).all()


def test_offsets_are_subtracted_from_genes_and_not_from_controls(files, tmp_path):
    options = {"pca": 12, "regress": ["crops"]}
    before, _ = run(files, tmp_path, **options)
    after, _ = run(files, tmp_path, arm_correction={"min_genes": 3}, **options)
    moved = before.obsm["X_tvn"] - after.obsm["X_tvn"]
    control = (after.obs["role"] == "negative_control").to_numpy()
    assert not moved[control].any()
    offsets = Alignment.load(tmp_path / "a.fit.h5").arms.offsets
    arm = after.obs["perturbation"].astype(str).str.removeprefix("gene")[~control].astype(int).to_numpy() % 2
    np.testing.assert_allclose(moved[~control], offsets[arm], atol=1e-4)
    silent = after.obs["perturbation"].isin([f"gene{n}" for n in range(0, 10, 2)]).to_numpy()
    assert np.abs(after.obsm["X_tvn"][silent].mean(axis=0)).max() < 1e-4


def test_later_plates_are_treated_alike_and_move_no_other(files, tmp_path):
    together, _ = run(files, tmp_path, fitted=3, **OPTIONS)
    before, _ = run(files[:3], tmp_path, **OPTIONS)
    np.testing.assert_array_equal(together[before.obs_names].obsm["X_tvn"], before.obsm["X_tvn"])
    assert "plate3" in set(together.obs["plate"])


def test_a_table_that_is_needed_is_named(files, tmp_path):
    embeddings, wells = zip(*files, strict=True)
    with pytest.raises(ConfigError, match=r"arm_correction: a table of chromosome arms is needed; give genes\.arms"):
        fit_plates(embeddings, wells, fit=tmp_path / "f", manifest=tmp_path / "m", arm_correction={"genes": "all"})
