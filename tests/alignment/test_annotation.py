"""The join of embeddings and annotations, and what it counts."""

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from cellmae.alignment import Alignment, align_plates, annotate, digest_wells, fit_plates
from cellmae.errors import DataError
from cellmae.files import read_manifest

WELLS = ["A01", "A02", "A03", "B01", "B02", "B03"]


def embedded(plate, wells=WELLS, *, features=5, weights="abc", seed=0):
    obs = pd.DataFrame({"plate": plate, "plate_name": plate, "batch": "old", "well": list(wells)})
    obs["row"] = [1 + "AB".index(well[0]) for well in wells]
    obs["column"] = [int(well[1:]) for well in wells]
    obs["crops"] = 4
    obs.index = [f"{plate}_{well}" for well in wells]
    X = np.random.default_rng(seed).normal(size=(len(wells), features)).astype(np.float32)
    return AnnData(X, obs=obs, uns={"cellmae": {"stage": "embeddings", "model": "m", "weights_digest": weights}})


def annotated(plate, wells=WELLS):
    table = pd.DataFrame({"plate": plate, "plate_name": plate, "batch": "experiment", "well": list(wells)})
    table["row"] = [1 + "AB".index(well[0]) for well in wells]
    table["column"] = [int(well[1:]) for well in wells]
    table["perturbation"] = ["control", "TP53", "TP53", "MDM2", "MDM2", "control"][: len(wells)]
    table["treatment"] = table["perturbation"]
    table["role"] = np.where(table["perturbation"] == "control", "negative_control", "treatment")
    return table


def test_annotations_are_joined_by_plate_and_well():
    adata = annotate([embedded("p1"), embedded("p2", seed=1)], [annotated("p2"), annotated("p1")])
    assert adata.obs_names.tolist() == [f"{plate}_{well}" for plate in ("p1", "p2") for well in WELLS]
    assert adata.obs.loc["p2_A02", "perturbation"] == "TP53"
    assert adata.obs["batch"].unique().tolist() == ["experiment"]
    assert adata.obs["crops"].tolist() == [4] * 12
    np.testing.assert_array_equal(adata["p2_B03"].X[0], embedded("p2", seed=1).X[5])
    np.testing.assert_array_equal(adata["p1_B03"].obsm["spatial"][0], [3, 2])
    assert adata.uns["cellmae"]["weights_digest"] == "abc"


def test_lost_wells_are_counted():
    embeddings = embedded("p1")
    embeddings.X[1, 2] = np.nan
    embeddings.X[2, 0] = np.inf
    wells = annotated("p1").iloc[1:]
    wells.loc[wells["well"] == "B01", ["perturbation", "treatment", "role"]] = [None, None, "empty"]
    extra = annotated("p1", ["A04"])
    adata = annotate([embeddings], [pd.concat([wells, extra])])
    assert adata.uns["cellmae"]["wells"] == {"kept": 2, "unannotated": 2, "not_finite": 2, "not_embedded": 1}
    assert adata.obs_names.tolist() == ["p1_B02", "p1_B03"]


def test_lost_wells_are_named_in_the_log(caplog):
    embeddings = embedded("p1")
    embeddings.X[1, 2] = np.nan
    annotate([embeddings], [annotated("p1")])
    assert "NaN or infinity dropped: p1_A02" in caplog.text


def test_result_can_be_written_whatever_else_is_annotated(tmp_path):
    wells = annotated("p1").assign(dose=[1, "high", None, 2.5, "low", True], smiles=None, flag=True)
    adata = annotate([embedded("p1")], [wells])
    assert adata.obs["perturbation"].dtype == "category"
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert anndata.read_h5ad(tmp_path / "a.h5ad").obs["dose"].tolist()[:2] == ["1", "high"]


def test_nothing_left_is_an_error():
    with pytest.raises(DataError, match="0 kept, 6 unannotated, 0 not finite, 6 not embedded"):
        annotate([embedded("p1")], [annotated("p2")])


@pytest.mark.parametrize(("what", "keywords"), [("weights", {"weights": "def"}), ("features", {"features": 4})])
def test_plates_of_different_models_are_refused(what, keywords):
    with pytest.raises(DataError, match=f"p1 and p2 were embedded with different {what}"):
        annotate([embedded("p1"), embedded("p2", **keywords)], [annotated("p1"), annotated("p2")])


def test_wells_that_occur_twice_are_refused():
    with pytest.raises(DataError, match="annotations hold well A01 of plate p1 more than once"):
        annotate([embedded("p1")], [annotated("p1"), annotated("p1")])
    with pytest.raises(DataError, match="embeddings hold well A01 of plate p1 more than once"):
        annotate([embedded("p1"), embedded("p1")], [annotated("p1")])


def test_digest_changes_with_annotations_and_vectors():
    adata = annotate([embedded("p1")], [annotated("p1")])
    digests = {digest_wells(adata)}
    corrected = adata.copy()
    corrected.obs["perturbation"] = corrected.obs["perturbation"].cat.rename_categories({"TP53": "TP63"})
    digests.add(digest_wells(corrected))
    moved = adata.copy()
    moved.X[0, 0] += 1
    digests.add(digest_wells(moved))
    assert len(digests) == 3
    assert digest_wells(adata.copy()) in digests


def test_files_of_plates_become_aligned_wells(tmp_path):
    embeddings, wells = [], []
    for seed, plate in enumerate(("p1", "p2")):
        embeddings.append(tmp_path / f"{plate}.h5ad")
        wells.append(tmp_path / f"{plate}.wells.parquet")
        embedded(plate, seed=seed).write_h5ad(embeddings[-1])
        annotated(plate).to_parquet(wells[-1])
    fit, out = tmp_path / "tvn.fit.h5", tmp_path / "tvn.h5ad"
    fit_plates(
        embeddings[:1], wells[:1], fit=fit, manifest=tmp_path / "tvn.fit.json", method="tvn", pca=3, batch="plate"
    )
    align_plates(embeddings, wells, fit=fit, output=out, manifest=tmp_path / "tvn.json")
    fitted, aligned = (read_manifest(tmp_path / name, stage="alignment") for name in ("tvn.fit.json", "tvn.json"))
    assert fitted["fit_plates"] == ["p1"]
    assert fitted["digest"] == aligned["fit_digest"] == Alignment.load(fit).digest
    assert aligned["plates"] == ["p1", "p2"]
    assert aligned["wells"]["kept"] == 12
    adata = anndata.read_h5ad(out)
    assert digest_wells(adata) == aligned["digest"]
    assert adata.uns["cellmae"]["stage"] == "alignment"
    assert adata.obsm["X_tvn"].shape == (12, 3)
