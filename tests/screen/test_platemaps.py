import gzip
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from cellmae.errors import ConfigError, DataError
from cellmae.screen.platemaps import PlateMap


def write(root: Path, **tables: str) -> None:
    """Write tables by the stem of their name; two underscores stand for a slash."""
    for name, text in tables.items():
        path = root / (name.replace("__", "/") + ("" if name.endswith("_gz") else ".csv"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def wells(root: Path, plate_map: Any, **screen: Any) -> pd.DataFrame:
    return PlateMap(root, {"plate_map": plate_map, **screen}).wells()


def test_one_table(tmp_path):
    write(tmp_path, map="Well,Perturbation,dose\na1,DMSO,0\nB02,x,2.5\n")
    found = wells(tmp_path, "map.csv")
    assert found[["well", "perturbation", "dose"]].to_numpy().tolist() == [["A01", "DMSO", 0.0], ["B02", "x", 2.5]]
    assert "plate_name" not in found
    pd.testing.assert_frame_equal(found, wells(tmp_path / "any", str(tmp_path / "map.csv")))


def test_further_tables_add_columns(tmp_path):
    write(tmp_path, map="plate,well,id\nP,A1,1\nP,A2,2\nP,A3,3\n", compounds="Metadata_ID,name\n2,taxol\n1,DMSO\n")
    write(tmp_path, classes="name,moa\ntaxol,tubulin\n")
    columns = {"plate": "plate", "well": "well", "perturbation": "name"}
    found = wells(tmp_path, ["map.csv", "compounds.csv", "classes.csv"], columns=columns)
    assert found["perturbation"].tolist() == ["DMSO", "taxol", pd.NA]
    assert found["moa"].tolist() == [pd.NA, "tubulin", pd.NA]
    assert found["plate_name"].tolist() == ["P"] * 3


def test_tables_that_do_not_join(tmp_path):
    write(
        tmp_path,
        map="well,id\nA1,1\n",
        other="key,name\n1,x\n",
        twice="id,name\n1,x\n1,y\n",
        same="id,name\n1,x\n1,x\n",
    )
    columns = {"well": "well", "perturbation": "name"}
    with pytest.raises(
        ConfigError, match=r"screen.plate_map: .*other.csv shares no column .* has key, name, .* well, id"
    ):
        wells(tmp_path, ["map.csv", "other.csv"], columns=columns)
    with pytest.raises(DataError, match=r"twice.csv says several things of 1: keep one row for each of \['id'\]"):
        wells(tmp_path, ["map.csv", "twice.csv"], columns=columns)
    assert wells(tmp_path, ["map.csv", "same.csv"], columns=columns)["perturbation"].tolist() == ["x"]
    with pytest.raises(ConfigError, match=r"screen.plate_map: the file .*none.csv does not exist"):
        wells(tmp_path, ["map.csv", "none.csv"], columns=columns)


def test_wells_and_genes_of_jump(repository, tmp_path):
    """As jump-cellpainting/datasets has them, under metadata/, and configs/jump-cpg0016.yaml reads them."""
    tables = {
        "well": "Metadata_Source,Metadata_Plate,Metadata_Well,Metadata_JCP2022\n"
        "source_13,CP-CC9-R1-01,A02,JCP2022_800001\nsource_13,CP-CC9-R1-01,A03,JCP2022_800002\n"
        "source_13,CP-CC9-R1-01,A04,JCP2022_805264\nsource_13,CP-CC9-R1-01,A05,JCP2022_UNKNOWN\n",
        "plate": "Metadata_Source,Metadata_Batch,Metadata_Plate,Metadata_PlateType\n"
        "source_13,20220914_Run1,CP-CC9-R1-01,CRISPR\nsource_4,2021_04_26_Batch1,BR00117035,TARGET2\n",
        "crispr": "Metadata_JCP2022,Metadata_NCBI_Gene_ID,Metadata_Symbol\n"
        "JCP2022_800001,,no-guide\nJCP2022_800002,,non-targeting\nJCP2022_805264,5347,PLK1\n",
    }
    for name, text in tables.items():
        with gzip.open(tmp_path / f"{name}.csv.gz", "wt") as file:
            file.write(text)
    control = "Metadata_JCP2022,Metadata_pert_type,Metadata_Name,Metadata_modality\nJCP2022_999999,empty,Empty,any\n"
    control += "".join(
        f"JCP2022_80000{n},negcon,{name},crispr\n" for n, name in ((1, "no-guide"), (2, "non-targeting"))
    )
    (tmp_path / "perturbation_control.csv").write_text(control)
    screen = yaml.safe_load((repository / "configs/jump-cpg0016.yaml").read_text())["screen"]
    names = [Path(name).name for name in screen["plate_map"]]
    found = wells(tmp_path, names, columns=screen["columns"])
    assert found["perturbation"].tolist() == ["no-guide", "non-targeting", "PLK1", pd.NA]
    assert found["pert_type"].tolist() == ["negcon", "negcon", pd.NA, pd.NA]
    assert screen["control_where"] == {"Metadata_pert_type": ["negcon"]}
    assert set(found["experiment"]) == {"20220914_Run1"}
    assert found["ncbi_gene_id"].dropna().tolist() == [5347]
    assert PlateMap(tmp_path, {"plate_map": names}).sources() == [tmp_path / name for name in names]


def test_barcodes_with_maps(tmp_path):
    write(
        tmp_path,
        barcode_platemap="Assay_Plate_Barcode,Plate_Map_Name,Cell\nP1, m1,A549\nP2,m1,U2OS\nP3,m2,U2OS\nP4,,U2OS\n",
    )
    write(tmp_path, platemap__m2="plate_map_name,well_position,gene,cell\nm2,a1,x,other\n")
    (tmp_path / "platemap/m1.txt").write_text("plate_map_name\twell_position\tgene\nm1\tA01\tDMSO\nm1\tA02\ty\n")
    found = wells(tmp_path, "barcode_platemap.csv", columns={"perturbation": "gene"})
    assert found[["plate_name", "well", "perturbation"]].to_numpy().tolist() == [
        *[["P1", "A01", "DMSO"], ["P1", "A02", "y"], ["P2", "A01", "DMSO"], ["P2", "A02", "y"], ["P3", "A01", "x"]]
    ]
    assert PlateMap(tmp_path, {"plate_map": "barcode_platemap.csv"}).sources() == [
        *[tmp_path / name for name in ("barcode_platemap.csv", "platemap/m1.txt", "platemap/m2.csv")]
    ]


@pytest.mark.parametrize("name", ["m9", "../secret", "/etc/m"])
def test_a_map_that_is_not_there(tmp_path, name):
    write(tmp_path, maps__barcode_platemap=f"Assay_Plate_Barcode,Plate_Map_Name\nP1,{name}\n", secret="well_position\n")
    (tmp_path / "maps/platemap").mkdir()
    with pytest.raises(
        ConfigError, match=rf"screen.plate_map: .*barcode_platemap.csv names the map '{name}', and there"
    ):
        wells(tmp_path, "maps/barcode_platemap.csv")


def test_several_tables_by_a_pattern(tmp_path):
    for batch in ("B2", "B1"):
        write(tmp_path, **{f"{batch}__barcode_platemap": "Assay_Plate_Barcode,Plate_Map_Name\nP1,m\n"})
        write(tmp_path, **{f"{batch}__platemap__m": f"plate_map_name,well_position,gene\nm,A1,{batch}gene\n"})
    plate_map = PlateMap(tmp_path, {"plate_map": "{batch}/barcode_platemap.csv", "columns": {"perturbation": "gene"}})
    found = plate_map.wells()
    assert found[["experiment", "plate_name", "well", "perturbation"]].to_numpy().tolist() == [
        *[["B1", "P1", "A01", "B1gene"], ["B2", "P1", "A01", "B2gene"]]
    ]
    assert plate_map.sources() == [
        *[tmp_path, tmp_path / "B1/barcode_platemap.csv", tmp_path / "B2/barcode_platemap.csv"],
        *[tmp_path / "B1/platemap/m.csv", tmp_path / "B2/platemap/m.csv"],
    ]
    with pytest.raises(ConfigError, match=r"screen.plate_map: no file below .* matches '\{batch\}/map.csv'"):
        wells(tmp_path, "{batch}/map.csv")


def test_well_position_stands_for_the_default_name_of_the_well(tmp_path):
    write(tmp_path, map="well_position,perturbation,position\nA1,DMSO,B1\n")
    assert wells(tmp_path, "map.csv", columns={"well": "well"})["well"].tolist() == ["A01"]
    assert wells(tmp_path, "map.csv", columns={"well": "position"})["well"].tolist() == ["B01"]
    write(tmp_path, both="well_position,perturbation,well\nA1,DMSO,B1\n")
    assert wells(tmp_path, "both.csv", columns={"well": "well"})["well"].tolist() == ["B01"]


def test_a_table_a_plate(tmp_path):
    write(tmp_path, maps__P1="well,perturbation\nA1,DMSO\n", maps__P2="well,perturbation,dose\nA1,x,3\n")
    found = wells(tmp_path, "maps/{plate}.csv")
    assert found[["plate_name", "perturbation"]].to_numpy().tolist() == [["P1", "DMSO"], ["P2", "x"]]
    assert found["dose"].iloc[1] == 3


def test_real_barcodes_and_map(test_data, tmp_path):
    barcodes = pd.read_csv(test_data / "headers/barcode_platemap.csv")
    named = barcodes[barcodes["Plate_Map_Name"] == "C-7161-01-LM6-001"]
    named.to_csv(tmp_path / "barcode_platemap.csv", index=False)
    (tmp_path / "platemap").mkdir()
    shutil.copy(test_data / "headers/platemap.txt", tmp_path / "platemap/C-7161-01-LM6-001.txt")
    screen = {
        "columns": {"perturbation": "broad_sample", "treatment": ["broad_sample", "mmoles_per_liter"]},
        "control_where": {"broad_sample": None},
    }
    found = wells(tmp_path, "barcode_platemap.csv", **screen)
    assert len(found) == 5 * 384
    assert found["is_control"].sum() == 5 * 24
    assert found["perturbation"].nunique() == 1 + 58
    first = found[found["plate_name"] == named["Assay_Plate_Barcode"].iloc[0]].set_index("well")
    assert first.loc["A01", ["perturbation", "is_control"]].tolist() == ["negative_control", True]
    assert first.loc["A08", "treatment"] == "BRD-K25114078-003-08-1_3.333333333330769"
    assert set(first["solvent"]) == {"DMSO"}
    with pytest.raises(ConfigError, match=r"names the map 'C-7161-01-LM6-017', and there is no .*LM6-017.txt"):
        wells(test_data / "headers", "barcode_platemap.csv", **screen)
