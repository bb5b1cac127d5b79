from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cellmae.errors import ConfigError
from cellmae.screen import index_fields, index_wells, plates

from .end_to_end import stored_fields, write_image

KINDS = {"B02": "negative_control", "B03": "positive_control", "B04": "treatment"}


@pytest.fixture
def screen(tmp_path: Path) -> dict[str, Any]:
    """A plate with three wells of two sites, in two channels."""
    rows = []
    for number, (well, kind) in enumerate(KINDS.items()):
        for site in (1, 2):
            rows.append(
                {"site_id": f"HUVEC-01_1_{well}_{site}", "well_id": f"HUVEC-01_1_{well}", "cell_type": "HUVEC",
                 "dataset": "train", "experiment": "HUVEC-01", "plate": 1, "well": well, "site": site,
                 "well_type": kind, "sirna": f"s{number}", "sirna_id": number}
            )  # fmt: skip
            for channel in (1, 2):
                path = tmp_path / f"images/HUVEC-01/Plate1/{well}_s{site}_w{channel}.png"
                write_image(path, 100 * number + 10 * site + channel)
    pd.DataFrame(rows).to_csv(tmp_path / "metadata.csv", index=False)
    return {"layout": "rxrx1", "root": str(tmp_path), "channels": ["nuclei", "er"], "batch": "experiment"}


def test_roles_are_those_of_the_metadata(screen) -> None:
    assert {slug: plate.batch for slug, plate in plates(screen).items()} == {"HUVEC-01_Plate1": "HUVEC-01"}
    wells = index_wells(screen, "HUVEC-01_Plate1").set_index("well")
    assert wells["role"].to_dict() == KINDS
    assert wells.loc["B04", ["perturbation", "treatment", "cell_type"]].tolist() == ["s2", "s2", "HUVEC"]
    assert "is_positive_control" not in wells


def test_stored_pixels_are_those_of_the_files(screen, tmp_path: Path) -> None:
    assert index_fields(screen, "HUVEC-01_Plate1")["site"].tolist() == [1, 2] * 3
    stored = stored_fields(screen, tmp_path / "out")
    pixels = [np.random.default_rng(seed).integers(0, 256, (32, 32), dtype=np.uint8) for seed in (121, 122)]
    assert np.array_equal(stored["HUVEC-01_Plate1", "B03", 2], pixels)


def test_metadata_of_another_set_are_refused(screen, tmp_path: Path) -> None:
    pd.DataFrame({"experiment": ["a"], "plate": [1], "address": ["A01"]}).to_csv(tmp_path / "metadata.csv")
    with pytest.raises(ConfigError, match=r"metadata\.csv has no column well, well_type, sirna"):
        plates(screen)
