from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cellmae.errors import ConfigError, DataError
from cellmae.screen import index_fields, index_wells, plates, survey
from cellmae.screen.layouts import rxrx3_core

from .end_to_end import stored_fields

PLATES = [("gene-088", 9), ("compound-001", 1)]
WELLS = ["A01", "AA41"]
METADATA = ["well_id", "experiment_name", "plate", "address", "gene", "treatment", "SMILES", "concentration"]
METADATA += ["perturbation_type", "cell_type"]


def pixels(key: str) -> np.ndarray:
    return np.random.default_rng(list(key.encode())).integers(0, 256, (32, 32), dtype=np.uint8)


def image(key: str) -> bytes:
    return imagecodecs.jpeg2k_encode(pixels(key), level=0)


def write_shard(path: Path, keys: list[str | None], *, plain: bool = False) -> None:
    images = [image(key or "") for key in keys]
    column = pa.array(images) if plain else pa.array([{"bytes": data, "path": None} for data in images])
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"__key__": pa.array(keys, pa.string()), "jp2": column}), path, row_group_size=5)


@pytest.fixture(params=[False, True], ids=["struct", "binary"])
def core(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Two plates of two wells, of two channels each, in two shards: the second plate lies in both."""
    keys = [f"{e}/Plate{p}/{well}_s1_{channel}" for e, p in PLATES for well in WELLS for channel in (1, 2)]
    write_shard(tmp_path / "data/train-00000-of-00002.parquet", keys[:6], plain=request.param)
    write_shard(tmp_path / "data/train-00001-of-00002.parquet", keys[6:], plain=request.param)
    labels = {
        "gene-088": [("EMPTY_control", "EMPTY_control", "", ""), ("MTOR", "MTOR_guide_4", "", "")],
        "compound-001": [("EMPTY_control", "EMPTY_control", "", ""), ("", "Narlaprevir", "CC", "2.5")],
    }
    rows = [
        [f"{e}_{p}_{well}", e, p, well, *label, "CRISPR" if e == "gene-088" else "COMPOUND", "HUVEC"]
        for e, p in PLATES
        for well, label in zip(WELLS, labels[e], strict=True)
    ]
    pd.DataFrame(rows, columns=METADATA).to_csv(tmp_path / "metadata_rxrx3_core.csv", index=False)
    return {
        "layout": "rxrx3-core",
        "root": str(tmp_path),
        "channels": ["nuclei", "er"],
        "batch": "experiment",
        "controls": ["EMPTY_control"],
    }


def test_images_are_rows_of_shards(core):
    assert list(plates(core)) == ["compound-001_Plate1", "gene-088_Plate9"]
    fields = index_fields(core, "compound-001_Plate1")
    assert fields[["well", "site", "path_nuclei", "path_er"]].to_numpy().tolist() == [
        ["A01", 1, "data/train-00000-of-00002.parquet#4", "data/train-00000-of-00002.parquet#5"],
        ["AA41", 1, "data/train-00001-of-00002.parquet#0", "data/train-00001-of-00002.parquet#1"],
    ]
    assert (fields["size"] > 0).all()


def test_wells_are_those_of_rxrx3(core):
    wells = index_wells(core, "compound-001_Plate1")
    assert wells[["well", "perturbation", "treatment", "role", "concentration"]].fillna(0).to_numpy().tolist() == [
        ["A01", "EMPTY_control", "EMPTY_control", "negative_control", 0],
        ["AA41", "Narlaprevir", "Narlaprevir_2.5", "treatment", 2.5],
    ]


def test_shards_that_are_not_there_yet_are_counted(core, tmp_path):
    (tmp_path / "data/train-00000-of-00002.parquet").unlink()
    found = survey(core)
    assert list(found.plates) == ["compound-001_Plate1"]
    assert found.without_images == ["gene-088 Plate9"]
    (tmp_path / "data/train-00001-of-00002.parquet").unlink()
    with pytest.raises(ConfigError, match=r"^screen.root: no file below .* matches 'data/\*.parquet'"):
        plates(core)


def test_listing_reads_no_image(core, monkeypatch):
    read = []
    whole = pq.ParquetFile.read

    def columns_read(self: pq.ParquetFile, columns: list[str]) -> pa.Table:
        read.append(columns)
        return whole(self, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read", columns_read)
    rxrx3_core._keys.cache_clear()
    index_fields(core, "gene-088_Plate9")
    index_fields(core, "compound-001_Plate1")
    assert read == [["__key__"], ["__key__"]]  # once a shard


@pytest.mark.parametrize(
    ("key", "named"), [("gene-088/Plate9/A01", "'gene-088/Plate9/A01'"), (None, "None"), ("../Plate9/A1/_s1_1", "'../")]
)
def test_faulty_keys_are_named(core, tmp_path, key, named):
    write_shard(tmp_path / "data/train-00001-of-00002.parquet", ["gene-088/Plate9/A02_s1_1", key])
    with pytest.raises(DataError, match=f"00001-of-00002.parquet: 1 rows have no __key__ such as .*{named}"):
        plates(core)


def test_files_of_other_kinds_are_named(core, tmp_path):
    pq.write_table(pa.table({"well_id": ["a"], "feature_0": [0.5]}), tmp_path / "data/embeddings.parquet")
    with pytest.raises(
        DataError, match=r"embeddings.parquet has no column __key__; its columns are well_id, feature_0"
    ):
        plates(core)
    (tmp_path / "data/embeddings.parquet").write_bytes(b"PAR1 broken off")
    with pytest.raises(DataError, match=r"embeddings.parquet cannot be read"):
        plates(core)


def test_more_channels_than_are_named_are_left_out(core, tmp_path):
    assert "path_er" not in index_fields(core | {"channels": ["nuclei"]}, "gene-088_Plate9")
    write_shard(tmp_path / "data/train-00000-of-00002.parquet", ["gene-088/Plate9/A01_s1_7"])
    with pytest.raises(DataError, match=r"gene-088_Plate9 have the channels 7; screen.channels names 2"):
        index_fields(core, "gene-088_Plate9")


def test_from_shards_to_stored_pixels(core, tmp_path):
    stored = stored_fields(core, tmp_path / "out")
    assert len(stored) == 4
    for (slug, well, _), field in stored.items():
        key = f"{slug.replace('_', '/')}/{well}_s1"
        np.testing.assert_array_equal(field, [pixels(f"{key}_{channel}") for channel in (1, 2)])
