from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cellmae.errors import ConfigError, DataError
from cellmae.screen import index_fields, index_wells, plates

from .end_to_end import stored_fields

WELLS = {"B02": ("negative_control", "EMPTY"), "B03": ("positive_control", "s8645"), "AA04": ("treatment", "s21721")}


@pytest.fixture
def rxrx1(tmp_path: Path) -> dict[str, Any]:
    """Two plates of two experiments; three wells, two sites and two channels each."""
    rows = []
    for experiment in ("HUVEC-01", "U2OS-02"):
        for well, (kind, sirna) in WELLS.items():
            for site in (1, 2):
                name = f"{experiment}_1_{well}"
                facts = [f"{name}_{site}", name, experiment[:-3], "train", experiment, 1, well, site, kind, sirna, 3]
                rows.append(facts)
                for channel in (1, 2):
                    path = tmp_path / f"images/{experiment}/Plate1/{well}_s{site}_w{channel}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels(experiment, well, site, channel)).save(path)
    names = ["site_id", "well_id", "cell_type", "dataset", "experiment", "plate", "well", "site", "well_type", "sirna"]
    pd.DataFrame(rows, columns=[*names, "sirna_id"]).to_csv(tmp_path / "metadata.csv", index=False)
    return {"layout": "rxrx1", "root": str(tmp_path), "channels": ["nuclei", "er"], "batch": "experiment"}


def pixels(experiment: str, well: str, site: int, channel: int) -> np.ndarray:
    seed = sum(map(ord, experiment + well)) + 1000 * site + channel
    return np.random.default_rng(seed).integers(0, 256, (32, 32), dtype=np.uint8)


def edit(screen: dict[str, Any], change: Any) -> None:
    path = Path(screen["root"]) / "metadata.csv"
    change(pd.read_csv(path, dtype=str)).to_csv(path, index=False)


def test_fields_have_two_sites(rxrx1):
    assert list(plates(rxrx1)) == ["HUVEC-01_Plate1", "U2OS-02_Plate1"]
    fields = index_fields(rxrx1, "HUVEC-01_Plate1")
    assert fields[["well", "site", "path_er"]].to_numpy().tolist() == [
        [well, site, f"images/HUVEC-01/Plate1/{well}_s{site}_w2.png"] for well in WELLS for site in (1, 2)
    ]


def test_roles_come_from_the_well_type(rxrx1):
    wells = index_wells(rxrx1, "U2OS-02_Plate1")
    assert wells[["well", "batch", "perturbation", "treatment", "role", "cell_type"]].to_numpy().tolist() == [
        [well, "U2OS-02", sirna, sirna, role, "U2OS"] for well, (role, sirna) in WELLS.items()
    ]
    assert {"is_control", "is_positive_control", "site"}.isdisjoint(wells.columns)
    assert wells["sirna_id"].tolist() == [3, 3, 3]


def test_a_nameless_negative_control_has_a_name(rxrx1):
    edit(rxrx1, lambda table: table.replace({"sirna": {"EMPTY": None}}))
    assert index_wells(rxrx1, "HUVEC-01_Plate1")["perturbation"].iloc[0] == "negative_control"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda table: table.assign(well_type="control"), DataError, "6 wells have another well_type .*'control'"),
        (lambda table: table.assign(well="Z"), DataError, "no names of wells: 'Z'"),
        (lambda table: table.drop(columns="sirna"), ConfigError, "^screen.root: .*metadata.csv has no column sirna"),
        (lambda table: table.assign(sirna=table["site_id"]), DataError, "rows of one well contradict each other"),
        (lambda table: table.assign(experiment=None), DataError, "12 rows have no experiment"),
    ],
)
def test_faulty_tables_are_refused(rxrx1, change, error, message):
    edit(rxrx1, change)
    with pytest.raises(error, match=message):
        plates(rxrx1)


def test_rows_of_a_well_may_not_disagree_on_a_positive_control(rxrx1):
    other = {"HUVEC-01_1_B03_2": "treatment"}
    edit(rxrx1, lambda table: table.assign(well_type=table["site_id"].map(other).fillna(table["well_type"])))
    with pytest.raises(DataError, match="contradict each other, for HUVEC-01 Plate1 B03"):
        plates(rxrx1)


def test_from_images_to_stored_pixels(rxrx1, tmp_path):
    stored = stored_fields(rxrx1, tmp_path / "out")
    assert len(stored) == 12
    for (slug, well, site), field in stored.items():
        experiment = slug.removesuffix("_Plate1")
        np.testing.assert_array_equal(field, [pixels(experiment, well, site, channel) for channel in (1, 2)])
