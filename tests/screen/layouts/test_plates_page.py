"""docs/plates.md: every screen that it shows is valid, short, and finds plates that lie as it says."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import yaml

from cellmae.config import validate
from cellmae.references import reference_files
from cellmae.screen import index_fields, index_wells, plates
from cellmae.screen.layouts import LAYOUTS

from .test_omezarr import textures
from .test_omezarr import write as write_zarr

MAP = "plate,well,compound\nBR1,A01,DMSO\nBR1,A02,taxol\n"
WELLS = {"A01": "EMPTY_control", "A02": "TP53"}
MOST_LINES = 10
Tree = Callable[[Path], None]


def blocks(repository: Path) -> list[str]:
    shown = re.findall(r"```yaml\n(.*?)```", (repository / "docs/plates.md").read_text(), re.DOTALL)
    return [block for block in shown if block.startswith("screen:") and "fetch" not in block]


def files(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("pixels")


def recursion(root: Path, **columns: Any) -> pd.DataFrame:
    """Write RxRx3's metadata of one plate with two wells."""
    rows = pd.DataFrame(
        [
            {"well_id": f"gene-001_1_{well}", "experiment_name": "gene-001", "plate": 1, "address": well, "gene": gene,
             "treatment": f"{gene}_guide", "SMILES": "", "concentration": ""}
            for well, gene in WELLS.items()
        ]
    ).assign(**columns)  # fmt: skip
    root.mkdir(parents=True, exist_ok=True)
    rows.to_csv(root / "metadata.csv", index=False)
    return rows


def rxrx3(root: Path) -> None:
    recursion(root)
    files(root, *(f"images/gene-001/Plate1/{well}_s1_w{n}.png" for well in WELLS for n in range(1, 7)))


def rxrx1(root: Path) -> None:
    files(root, *(f"images/HUVEC-01/Plate1/{well}_s1_w{n}.png" for well in WELLS for n in range(1, 7)))
    rows = [
        {"site_id": f"HUVEC-01_1_{well}_1", "well_id": f"HUVEC-01_1_{well}", "cell_type": "HUVEC", "dataset": "train",
         "experiment": "HUVEC-01", "plate": 1, "well": well, "site": 1, "well_type": kind, "sirna": sirna,
         "sirna_id": n}
        for n, (well, kind, sirna) in enumerate(
            [("A01", "negative_control", "EMPTY"), ("A02", "treatment", "s21721")]
        )
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(root / "metadata.csv", index=False)


def rxrx3_core(root: Path) -> None:
    metadata = recursion(root)
    metadata.to_csv(root / "metadata_rxrx3_core.csv", index=False)
    (root / "metadata.csv").unlink()
    data = imagecodecs.jpeg2k_encode(textures(32, 32, dtype=np.uint8))
    keys = [f"gene-001/Plate1/{well}_s1_{channel}" for well in WELLS for channel in range(1, 7)]
    shard = pd.DataFrame({"__key__": keys, "jp2": [{"bytes": data, "path": None}] * len(keys)})
    (root / "data").mkdir()
    shard.to_parquet(root / "data/train-00000-of-00001.parquet", index=False)


def jump(root: Path) -> None:
    images = "images/2021_Batch1/images/BR1__2021-05-02T16_02_51-Measurement1/Images"
    files(root, *(f"{images}/r01c0{c}f01p01-ch{n}sk1fk1fl1.tiff" for c in (1, 2) for n in range(1, 6)))
    maps = root / "workspace/metadata/platemaps/2021_Batch1"
    (maps / "platemap").mkdir(parents=True)
    (maps / "barcode_platemap.csv").write_text("Assay_Plate_Barcode,Plate_Map_Name\nBR1,m1\n")
    (maps / "platemap/m1.txt").write_text("plate_map_name\twell_position\tbroad_sample\nm1\tA01\t\nm1\tA02\tBRD-1\n")


def phenix(root: Path) -> None:
    images = "BR1__2024-05-02T16_02_51-Measurement 1/Images"
    files(root, *(f"{images}/r01c0{c}f01p01-ch{n}sk1fk1fl1.tiff" for c in (1, 2) for n in (1, 2, 4)))
    (root / "plates.csv").write_text(MAP)


def imagexpress(root: Path) -> None:
    files(root, *(f"BR1/TimePoint_1/BR1_A0{c}_s1_w{n}.TIF" for c in (1, 2) for n in (1, 2)))
    (root / "plates.csv").write_text(MAP)


def ome_zarr(root: Path) -> None:
    root.mkdir()
    images = {"A/01/0": textures(2, 32, 32), "A/02/0": textures(2, 32, 32)}
    write_zarr(root, images, name="BR1.zarr", channels_meta=["DAPI", "Phalloidin"])
    (root / "plates.csv").write_text(MAP)


def sheet(root: Path) -> None:
    rows = ["path,channel,plate,well,site,compound,dose"]
    for column, compound in ((1, "DMSO"), (2, "taxol")):
        for channel in ("DNA", "ER", "Mito"):
            files(root, f"BR1/{column}_{channel}.tif")
            rows.append(f"BR1/{column}_{channel}.tif,{channel},BR1,A0{column},1,{compound},1")
    (root / "samplesheet.csv").write_text("\n".join(rows))


def pattern(root: Path) -> None:
    files(root, *(f"BR1/A0{c}_s1_w{n}.tif" for c in (1, 2) for n in (1, 2, 3)))
    (root / "plates.csv").write_text(MAP)


def profiles(root: Path) -> None:
    root.mkdir()
    columns = {
        "Plate": ["BR1"] * 2,
        "Well": ["A01", "A02"],
        "gene": ["EGFP", "TP53"],
        "pert_type": ["control", "trt_oe"],
    }
    table = pd.DataFrame({f"Metadata_{name}": values for name, values in columns.items()}).assign(feature=[0.1, 0.2])
    table.to_parquet(root / "profiles.parquet")


TREES: dict[str, Tree] = {
    "rxrx1": rxrx1, "rxrx3": rxrx3, "rxrx3-core": rxrx3_core, "jump": jump, "phenix": phenix,
    "imagexpress": imagexpress, "ome-zarr": ome_zarr, "sheet": sheet, "pattern": pattern, "profiles": profiles,
}  # fmt: skip


def test_every_layout_is_shown(repository: Path) -> None:
    shown = {yaml.safe_load(block)["screen"].get("layout") for block in blocks(repository)} - {None}
    assert shown == set(LAYOUTS) - {"simulated"} == set(TREES)


@pytest.mark.parametrize("layout", TREES)
def test_what_is_shown_finds_the_plates(repository: Path, tmp_path: Path, layout: str) -> None:
    shown = {yaml.safe_load(block)["screen"].get("layout"): block for block in blocks(repository)}[layout]
    assert len(shown.splitlines()) <= MOST_LINES
    TREES[layout](tmp_path / "data")
    text = re.sub(r"/data(/[\w./-]+/source_4|/[\w-]+)?(?=[ \n])", str(tmp_path / "data"), shown)
    text = text.replace("/data/profiles.parquet", str(tmp_path / "data/profiles.parquet"))
    family = {"family": "features"} if layout == "profiles" else {"family": "constant"}
    config = yaml.safe_load(text) | {"results": str(tmp_path / "results"), "models": {"model": family}}
    screen = validate(config, repository / "workflow/schemas/config.schema.yaml")["screen"]
    (slug,) = plates(screen)
    roles = index_wells(screen, slug)["role"].tolist()
    assert roles == ["negative_control", "treatment"]
    fields = index_fields(screen, slug)
    if layout != "profiles":
        assert fields["well"].tolist() == ["A01", "A02"]
        assert fields.filter(regex="^path").notna().all(axis=None)


def test_what_is_fetched_is_valid(repository: Path, tmp_path: Path) -> None:
    text = (repository / "docs/plates.md").read_text()
    (block,) = [block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "fetch" in block]
    config = yaml.safe_load(block) | {"results": str(tmp_path / "results"), "models": {"model": {"family": "constant"}}}
    screen = validate(config, repository / "workflow/schemas/config.schema.yaml")["screen"]
    assert screen["fetch"]["source"] == "rxrx3-core"


def test_known_relationships_are_those_that_are_downloaded(repository: Path, tmp_path: Path) -> None:
    text = (repository / "docs/plates.md").read_text()
    (block,) = [block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "references" in block]
    pattern(tmp_path / "data")
    shown = {yaml.safe_load(block)["screen"].get("layout"): block for block in blocks(repository)}["pattern"]
    screen = yaml.safe_load(shown)["screen"] | {"root": str(tmp_path / "data")}
    config = yaml.safe_load(block) | {"results": "results", "screen": screen, "models": {"m": {"family": "constant"}}}
    config = validate(config, repository / "workflow/schemas/config.schema.yaml")
    used = {*config["maps"]["relationships"].values(), config["genes"]["aliases"], config["genes"]["arms"]}
    assert used <= set(reference_files(config["references"]))


def test_what_is_left_out_is_shown_as_it_works(repository: Path, tmp_path: Path) -> None:
    (part,) = [block for block in blocks(repository) if "exclude" in block]
    pattern(tmp_path / "data")
    screen = yaml.safe_load(part)["screen"] | {
        "layout": "pattern", "root": str(tmp_path / "data"), "channels": ["a", "b", "c"], "controls": ["DMSO"],
        "pattern": "{plate}/{well}_s{site}_w{channel}.tif", "plate_map": "plates.csv",
        "columns": {"plate": "plate", "perturbation": "compound"},
    }  # fmt: skip
    for plate in ("BR2", "BR7"):
        files(tmp_path / "data", *(f"{plate}/A0{c}_s1_w{n}.tif" for c in (2, 3) for n in (1, 2, 3)))
    more = "".join(f"{plate},A02,DMSO\n{plate},A03,x\n" for plate in ("BR2", "BR7"))
    (tmp_path / "data/plates.csv").write_text(MAP + more)
    config = {"results": str(tmp_path / "results"), "models": {"model": {"family": "constant"}}, "screen": screen}
    screen = validate(config, repository / "workflow/schemas/config.schema.yaml")["screen"]
    assert list(plates(screen)) == ["BR1", "BR2"]
    assert index_fields(screen, "BR1")["well"].tolist() == ["A02"]
