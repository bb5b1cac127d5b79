import numpy as np
import pandas as pd
import pytest

from cellmae.embeddings import embed_features, read_embeddings
from cellmae.errors import ConfigError, DataError
from cellmae.files import read_manifest

PLATE = {"slug": "X1", "name": "X1", "experiment": "", "batch": "X1"}
COLUMNS = {"plate": "Metadata_Plate", "well": "Metadata_Well", "perturbation": "Metadata_gene"}


@pytest.fixture
def profiles() -> pd.DataFrame:
    """Two plates of forty wells, three features."""
    generator = np.random.default_rng(0)
    wells = [f"{row}{column}" for row in "ABCD" for column in range(1, 11)]
    return pd.DataFrame(
        {
            "Metadata_Plate": ["X1"] * 40 + ["X2"] * 40,
            "Metadata_Well": wells + wells[::-1],
            "Metadata_gene": "ATF4",
            "Metadata_Count": 7,
            **{f"GE_{name}": generator.normal(size=80) for name in "abc"},
        }
    )


@pytest.fixture
def embed(tmp_path):
    """Return a function that embeds a table and returns the AnnData and the manifest."""

    def run(profiles, *, plate=PLATE, features=None, columns=COLUMNS, suffix=".parquet"):
        table, output, manifest = (tmp_path / name for name in (f"t{suffix}", "e.h5ad", "e.json"))
        if suffix == ".parquet":
            profiles.to_parquet(table)
        else:
            profiles.to_csv(table, index=False)
        embed_features(
            table=table,
            plate=plate,
            columns=columns,
            features=features,
            model="l1000",
            output=output,
            manifest=manifest,
        )
        return read_embeddings(output), read_manifest(manifest, stage="embeddings")

    return run


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_the_wells_of_a_plate_are_taken_as_they_are(embed, profiles, suffix):
    adata, manifest = embed(profiles, plate=PLATE | {"slug": "s", "name": "X2"}, suffix=suffix)
    assert adata.var_names.tolist() == ["GE_a", "GE_b", "GE_c"]
    assert adata.obs_names.tolist()[:2] == ["s_A01", "s_A02"]
    assert adata.obs_names.tolist()[9:11] == ["s_A10", "s_B01"]
    expected = profiles.iloc[::-1][["GE_a", "GE_b", "GE_c"]].to_numpy(np.float32)[:40]
    np.testing.assert_allclose(adata.X, expected, rtol=1e-6)
    assert (manifest["wells"], manifest["dim"], manifest["lost"], manifest["dropped_features"]) == (40, 3, [], [])
    assert adata.uns["cellmae"]["model"] == "l1000"


@pytest.mark.parametrize("features", ["^GE_[ab]$", ["GE_a", "GE_b"]])
def test_features_by_name_or_pattern(embed, profiles, features):
    adata, _ = embed(profiles, features=features)
    assert adata.var_names.tolist() == ["GE_a", "GE_b"]


def test_a_feature_that_misses_in_many_wells_goes_on_all_plates(embed, profiles):
    """All its gaps are on the other plate: both plates must still have the same features."""
    profiles.loc[41:46, "GE_b"] = np.nan
    for name in ("X1", "X2"):
        adata, manifest = embed(profiles, plate=PLATE | {"name": name})
        assert adata.var_names.tolist() == ["GE_a", "GE_c"]
        assert manifest["dropped_features"] == ["GE_b"]
        assert manifest["wells"] == 40


def test_a_well_that_misses_a_feature_is_lost(embed, profiles):
    profiles.loc[3, "GE_b"] = np.nan
    profiles.loc[5, "GE_c"] = np.inf
    adata, manifest = embed(profiles)
    assert [lost["well"] for lost in manifest["lost"]] == ["A04", "A06"]
    assert adata.n_obs == 38
    assert np.isfinite(adata.X).all()


def test_plates_of_one_name_in_several_batches(embed, profiles):
    profiles = profiles.assign(Metadata_Plate="P", Metadata_Batch=["b1"] * 40 + ["b2"] * 40)
    adata, _ = embed(
        profiles, plate=PLATE | {"name": "P", "experiment": "b2"}, columns=COLUMNS | {"batch": "Metadata_Batch"}
    )
    assert adata.X[0, 0] == np.float32(profiles["GE_a"].iloc[-1])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"features": "^X"}, ConfigError, r"models\.columns.*\^X"),
        ({"features": ["GE_z"]}, ConfigError, "GE_z"),
        ({"features": ["Metadata_gene"]}, ConfigError, "'ATF4', no number"),
        ({"plate": PLATE | {"name": "X3"}}, DataError, "no row of the plate 'X3'"),
        ({"columns": COLUMNS | {"well": "Position"}}, ConfigError, r"screen\.columns\.well"),
    ],
)
def test_what_is_not_there_is_named(embed, profiles, change, error, message):
    with pytest.raises(error, match=message):
        embed(profiles, **change)


def test_two_rows_of_one_well_are_refused(embed, profiles):
    profiles.loc[1, "Metadata_Well"] = "a01"
    with pytest.raises(DataError, match=r"A01 .* several rows"):
        embed(profiles)


def test_profiles_of_nothing_but_gaps_are_refused(embed, profiles):
    profiles[["GE_a", "GE_b", "GE_c"]] = np.nan
    with pytest.raises(DataError, match="every feature is missing"):
        embed(profiles, features="^GE_")


def test_real_profiles(embed, test_data):
    profiles = pd.read_parquet(test_data / "ta_orf" / "wells.parquet")
    name = profiles["Metadata_Plate"].iloc[0]
    adata, manifest = embed(profiles, plate=PLATE | {"name": name})
    assert manifest["dim"] == 978
    assert manifest["wells"] == (profiles["Metadata_Plate"] == name).sum()
    well = profiles[(profiles["Metadata_Plate"] == name) & (profiles["Metadata_Well"] == "A03")]
    assert np.array_equal(adata["X1_A03"].X[0], well.filter(like="GE_").to_numpy(np.float32)[0])
