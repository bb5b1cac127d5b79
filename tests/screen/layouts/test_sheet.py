from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cellmae.errors import ConfigError, DataError
from cellmae.screen import image_settings, index_fields, index_wells, plates, summarise, survey
from cellmae.screen.layouts import sheet as sheet_module

from .end_to_end import stored_fields, write_image

Screen = dict[str, Any]
PLANES = """\
path,channel,plate,well,site,compound
P1/a.tif,DNA,P1,A1,1,DMSO
P1/b.tif,ER,P1,a01,1,DMSO
P1/c.tif,DNA,P1,B02,2,taxol
P1/d.tif,ER,P1,B02,2,taxol
P2/e.tif,DNA,P2,A1,1,DMSO
P2/f.tif,ER,P2,A1,1,DMSO
"""


@pytest.fixture
def sheet(tmp_path: Path) -> Callable[..., Screen]:
    """Return a function that writes a table and all files that a pattern finds in it, and makes a screen of them."""

    def make(text: str, *, absent: tuple[str, ...] = (), **changes: Any) -> Screen:
        root = tmp_path / "screen"
        root.mkdir(exist_ok=True)
        (root / "images.csv").write_text(text)
        for name in {name for line in text.splitlines() for name in line.split(",") if name.endswith(".tif")}:
            path = root / name
            if ":" not in name and path.resolve().is_relative_to(root) and name not in absent:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("pixels")
        return {
            "layout": "sheet",
            "root": str(root),
            "table": "images.csv",
            "channels": ["DNA", "ER"],
            "batch": "plate",
            "controls": ["DMSO"],
            "columns": {"well": "well", "perturbation": "compound"},
            **changes,
        }

    return make


def paths(screen: Screen, slug: str) -> list[list[str | None]]:
    fields = index_fields(screen, slug)
    return fields[[name for name in fields if name.startswith("path")]].to_numpy().tolist()


def test_a_row_an_image(sheet):
    screen = sheet(PLANES)
    assert {slug: plate.name for slug, plate in plates(screen).items()} == {"P1": "P1", "P2": "P2"}
    fields = index_fields(screen, "P1")
    assert fields.drop(columns="mtime_ns").to_dict("split")["data"] == [
        ["P1", "P1", "P1", "A01", 1, 1, 1, "P1/a.tif", "P1/b.tif", 12],
        ["P1", "P1", "P1", "B02", 2, 2, 2, "P1/c.tif", "P1/d.tif", 12],
    ]
    wells = index_wells(screen, "P1")
    assert wells[["well", "perturbation", "role"]].to_numpy().tolist() == [
        ["A01", "DMSO", "negative_control"],
        ["B02", "taxol", "treatment"],
    ]
    assert list(wells)[9:] == []  # neither paths nor sites are annotations


@pytest.mark.parametrize(
    "text",
    [
        "Plate,Well,Site,compound,path_DNA,path_ER\nP1,A1,1,DMSO,P1/a.tif,P1/b.tif\n",
        "Metadata_Plate,Metadata_Well,Metadata_FieldID,compound,URL_DNA,url_er\nP1,A1,1,DMSO,P1/a.tif,P1/b.tif\n",
        "PLATE,Row,Col,Field,compound,URL_OrigDNA,URL_OrigER\nP1,1,1,1,DMSO,P1/a.tif,P1/b.tif\n",
        "plate,row,column,site,compound,FileName_DNA,PathName_DNA,FileName_ER,PathName_ER\n"
        "P1,A,01,01,DMSO,a.tif,P1,b.tif,./P1/\n",
        "plate,well,compound,FileName_OrigER,PathName_OrigER,FileName_OrigDNA,PathName_OrigDNA,FileName_IllumDNA\n"
        "P1,r01c01,DMSO,b.tif,P1//,a.tif,P1,x.npy\n",
        "plate,well,compound,FileName_DNA,FileName_ER\nP1,A1,DMSO,P1/a.tif,P1\\b.tif\n",
    ],
)
def test_a_row_a_field(sheet, text):
    screen = sheet(text)
    for name in ("a", "b"):
        (Path(screen["root"]) / "P1").mkdir(exist_ok=True)
        (Path(screen["root"]) / f"P1/{name}.tif").write_text("pixels")
    fields = index_fields(screen, "P1")
    assert fields[["well", "site", "path_DNA", "path_ER"]].to_numpy().tolist() == [["A01", 1, "P1/a.tif", "P1/b.tif"]]
    assert index_wells(screen, "P1")["perturbation"].tolist() == ["DMSO"]


def test_files_with_all_channels(sheet):
    screen = sheet("path,plate,well,compound\nP/a.tif,P,A1,DMSO\nP/b.tif,P,A2,x\n", absent=("P/b.tif",))
    assert paths(screen, "P") == [["P/a.tif"], [None]]
    assert summarise(index_fields(screen, "P"), index_wells(screen, "P")).missing_files == {"image": 1}


def test_what_the_table_calls_channels(sheet):
    text = PLANES.replace("DNA", "w1").replace("ER", "w2") + "P1/g.tif,w3,P1,A1,1,DMSO\n"
    assert paths(sheet(text, channel_ids=["w1", "w2"]), "P2") == [["P2/e.tif", "P2/f.tif"]]
    assert paths(sheet(text, channels=["RNA"], channel_ids=["w3"]), "P1") == [["P1/g.tif"]]
    with pytest.raises(DataError, match=r"the images of a plate .* have the channels w1, w2; .* expects w3"):
        index_fields(sheet(text, channels=["RNA"], channel_ids=["w3"]), "P2")
    with pytest.raises(ConfigError, match=r"screen.channel_ids: .*images.csv has no channel DNA; .* are w1, w2, w3$"):
        plates(sheet(text, channels=["DNA", "ER"], channel_ids=["DNA", "w2"]))
    wide = "plate,well,compound,path_DNA\nP1,A1,DMSO,a.tif\n"
    with pytest.raises(ConfigError, match=r"screen.channel_ids: .* nor one with the files of ER \(such as path_ER"):
        plates(sheet(wide))


def test_the_first_of_several_spellings_of_a_place(sheet):
    text = "batch,source,plate,well,site,field_id,compound,path_DNA,path_ER\nB,S,P,A1,4,9,DMSO,a.tif,b.tif\n"
    screen = sheet(text, batch="experiment")
    assert list(plates(screen)) == ["B_P"]
    assert index_fields(screen, "B_P")[["site", "batch"]].to_numpy().tolist() == [[4, "B"]]
    joined = screen | {"columns": {"batch": ["source", "batch"], "perturbation": "compound"}}
    assert {slug: plate.experiment for slug, plate in plates(joined).items()} == {"S_B_P": "S_B"}
    assert paths(joined, "S_B_P") == [["a.tif", "b.tif"]]
    with pytest.raises(DataError, match=r"several columns for the plate: Metadata_Plate, plate; rename all but one"):
        plates(sheet(text.replace("source", "Metadata_Plate")))


def test_columns_of_other_names(sheet):
    text = "barcode,position,day,gene,guide,path_DNA,path_ER\n007,A1,mon,DMSO,g1,a.tif,b.tif\n"
    columns = {"plate": "barcode", "batch": "day", "well": "position", "perturbation": "gene", "treatment": "guide"}
    screen = sheet(text, columns=columns)
    assert plates(screen)["mon_007"].name == "007"
    assert index_wells(screen, "mon_007")[["perturbation", "treatment"]].to_numpy().tolist() == [["DMSO", "g1"]]
    assert image_settings(screen)["columns"] == {"plate": "barcode", "batch": "day", "well": "position"}
    for use in columns:
        with pytest.raises(
            ConfigError, match=rf"screen.columns.{use}: .*images.csv has no column 'x'; its columns are"
        ):
            plates(sheet(text, columns=columns | {use: "x"}))
    with pytest.raises(ConfigError, match=r"screen.columns.well: .* no column for the well; it has barcode, position"):
        plates(sheet(text, columns={"plate": "barcode", "perturbation": "gene"}))


def test_a_table_without_plates_is_one(sheet):
    screen = sheet("well,compound,path_DNA,path_ER\nA1,DMSO,a.tif,b.tif\n")
    assert list(plates(screen)) == ["screen"]
    assert paths(screen, "screen") == [["a.tif", "b.tif"]]


def test_annotations_by_plate_map(sheet):
    text = "source,batch,plate,well,path_DNA,path_ER\nS,B,P,A1,a.tif,b.tif\nS,B,Q,A1,c.tif,d.tif\n"
    screen = sheet(text, plate_map="map.csv", columns={"plate": "barcode", "well": "pos", "perturbation": "compound"})
    (Path(screen["root"]) / "map.csv").write_text("barcode,pos,compound\nP,A1,DMSO\nP,A2,x\n")
    found = survey(screen)
    assert list(found.plates) == ["B_P"]
    assert found.without_annotation == ["B Q"]
    assert index_wells(screen, "B_P")["well"].tolist() == ["A01", "A02"]
    assert paths(screen, "B_P") == [["a.tif", "b.tif"]]


def test_controls_by_another_column(sheet):
    text = PLANES.replace("compound", "compound,kind").replace(",DMSO", ",,vehicle").replace(",taxol", ",taxol,drug")
    screen = sheet(text, controls=[], control_where={"kind": ["vehicle"]})
    wells = index_wells(screen, "P1")
    assert wells[["perturbation", "role"]].to_numpy().tolist() == [
        ["negative_control", "negative_control"],
        ["taxol", "treatment"],
    ]
    by_column = sheet(text, controls=[], control_where={"compound": None})
    assert index_wells(by_column, "P1")["role"].tolist() == ["negative_control", "treatment"]
    with pytest.raises(ConfigError, match=r"screen.control_where.sort: .*images.csv has no column 'sort'"):
        plates(sheet(text, control_where={"sort": ["vehicle"]}))


def test_types_are_the_same_on_every_plate(sheet):
    text = "plate,well,compound,code,path_DNA,path_ER\nP,A1,DMSO,a,a.tif,b.tif\nQ,A1,DMSO,7,c.tif,d.tif\n"
    assert index_wells(sheet(text), "Q")["code"].tolist() == ["7"]


@pytest.mark.parametrize("as_category", [False, True])
def test_parquet_with_types_of_its_own(sheet, tmp_path, as_category):
    rows = {
        "plate": [1.0, 1.0, 2.0],
        "batch": ["B"] * 3,
        "row": [1, 2, 1],
        "col": [1, 1, 1],
        "site": [1, 1, 1],
        "gene": ["c", "g", "c"],
        "path_DNA": ["a.tif", "b.tif", "c.tif"],
    }
    table = pd.DataFrame(rows).astype({"batch": "category", "gene": "category"} if as_category else {})
    screen = sheet("", channels=["DNA"], table="images.parquet", controls=["c"], columns={"perturbation": "gene"})
    for name in rows["path_DNA"]:
        (tmp_path / "screen" / name).touch()
    table.to_parquet(tmp_path / "screen/images.parquet", row_group_size=1)
    assert list(plates(screen)) == ["B_1", "B_2"]
    assert paths(screen, "B_1") == [["a.tif"], ["b.tif"]]
    assert index_wells(screen, "B_1")["perturbation"].tolist() == ["c", "g"]


def test_z_planes_and_what_they_lack(sheet):
    text = "plate,well,z,compound,path_DNA,path_ER\nP,A1,1,DMSO,a.tif,b.tif\nP,A1,2,DMSO,c.tif,d.tif\n"
    assert paths(sheet(text), "P") == [[["a.tif", "c.tif"], ["b.tif", "d.tif"]]]
    assert paths(sheet(text, z=2), "P") == [["c.tif", "d.tif"]]
    (Path(sheet(text)["root"]) / "c.tif").unlink()
    fields = index_fields(sheet(text, absent=("c.tif",)), "P")
    assert fields[["path_DNA", "path_ER"]].to_numpy().tolist() == [[None, ["b.tif", "d.tif"]]]


def test_missing_files_are_counted(sheet):
    text = PLANES.replace("P1/c.tif", "").replace("P1/d.tif", "NA")
    screen = sheet(text, absent=("P1/b.tif",))
    fields = index_fields(screen, "P1")
    assert fields[["path_DNA", "path_ER", "size"]].to_numpy().tolist() == [["P1/a.tif", None, 6], [None, None, 0]]
    summary = summarise(fields, index_wells(screen, "P1"))
    assert summary.missing_files == {"DNA": 1, "ER": 2}
    assert (summary.fields, summary.wells_without_images) == (2, 0)


def test_a_plate_without_any_file(sheet):
    screen = sheet(PLANES, absent=("P2/e.tif", "P2/f.tif"))
    assert list(plates(screen)) == ["P1", "P2"]
    with pytest.raises(
        DataError, match=r"none of the 2 images of the plate P2 is below .*, the first is P2/e.tif: corr"
    ):
        index_fields(screen, "P2")


def test_names_below_root_become_relative(sheet, tmp_path):
    root = tmp_path / "screen"
    text = "plate,well,compound,path_DNA,path_ER\nP,A1,DMSO,{},{}\n"
    for first, second in [
        (f"{root}/P/a.tif", f"file://{root}/P/b%20c.tif"),
        ("s3://bucket/x/P/a.tif", "s3://bucket/x//P/./b c.tif"),
    ]:
        screen = sheet(text.format(first, second), url_prefix="s3://bucket/x/")
        for name in ("a", "b c"):
            (root / "P").mkdir(exist_ok=True)
            (root / f"P/{name}.tif").touch()
        assert paths(screen, "P") == [["P/a.tif", "P/b c.tif"]]
    windows = sheet(text.format(r"D:\data\P\a.tif", r"D:\data\P/b c.tif"), url_prefix=r"D:\data")
    assert paths(windows, "P") == [["P/a.tif", "P/b c.tif"]]


def test_a_root_by_a_relative_path_or_a_link(sheet, tmp_path, monkeypatch):
    screen = sheet(f"plate,well,compound,path_DNA,path_ER\nP,A1,DMSO,{tmp_path}/screen/a.tif,b.tif\n")
    for name in ("a", "b"):
        (tmp_path / f"screen/{name}.tif").touch()
    (tmp_path / "link").symlink_to(tmp_path / "screen")
    monkeypatch.chdir(tmp_path)
    for root in ("screen", "./link", str(tmp_path / "link")):
        assert paths(screen | {"root": root}, "P") == [["a.tif", "b.tif"]]


@pytest.mark.parametrize(
    "name",
    [
        *["../secret.tif", "P/../../secret.tif", "/etc/passwd", "s3://bucket/a.tif", "file:///etc/passwd", ".", "P/.."],
        *[
            r"C:\data\a.tif",
            r"..\secret.tif",
            "s3://bucket/x/../a.tif",
            "s3://bucket/xy/a.tif",
            "out/secret.tif",
            "out.tif",
        ],
    ],
)
def test_what_leads_outside_is_refused(sheet, tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret.tif").write_text("secret")
    (tmp_path / "secret.tif").write_text("secret")
    screen = sheet(f"plate,well,site,compound,path_DNA,path_ER\nP,A1,3,DMSO,a.tif,{name}\n", url_prefix="s3://bucket/x")
    for link in ("out", "out.tif"):
        path = tmp_path / "screen" / link
        if path.is_dir():
            (path / "secret.tif").unlink()
            path.rmdir()
        path.unlink(missing_ok=True)
        path.symlink_to(tmp_path / ("elsewhere" if link == "out" else "secret.tif"))
    with pytest.raises(
        DataError, match=r"the image of well A01, site 3, channel ER, is not below .*screen: correct it"
    ):
        index_fields(screen, "P")


def test_links_within_root_are_followed(sheet, tmp_path):
    screen = sheet("plate,well,compound,path_DNA,path_ER\nP,A1,DMSO,P/a.tif,link/b.tif\n")
    root = tmp_path / "screen"
    (root / "link/b.tif").unlink()
    (root / "link").rmdir()
    (root / "P/b.tif").touch()
    (root / "link").symlink_to("P")
    assert paths(screen, "P") == [["P/a.tif", "link/b.tif"]]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("P1/g.tif,DNA,P1,A01,1,DMSO\n", r"well A01, site 1, channel DNA is there more than once, first as P1/a.tif"),
        ("P1/a.tif,DNA,P1,A01,1,DMSO\n", r"well A01, site 1, channel DNA is there more than once"),
        ("P1/./a.tif,DNA,P1,A03,1,x\n", r"P1/a.tif is the image of well A01, site 1, .* and of well A03, site 1, chan"),
        ("P1/g.tif,DNA,P1,A03,one,x\n", r"the column site holds 'one'; expected are whole numbers"),
        ("P1/g.tif,DNA,P1,A03,,x\n", r"the column site holds ''; expected are whole numbers"),
        ("P1/g.tif,DNA,P1,A03,-1,x\n", r"the column site holds '-1'"),
        ("P1/g.tif,DNA,P1,A03,1.5,x\n", r"the column site holds '1.5'"),
    ],
)
def test_rows_that_contradict_each_other(sheet, extra, message):
    with pytest.raises(DataError, match=message):
        index_fields(sheet(PLANES + extra), "P1")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            "P1/g.tif,DNA,P1,A01,2,taxol\n",
            "rows of one well contradict each other, for P1 A01: .* 'DMSO' and as 'taxol'",
        ),
        ("P1/g.tif,DNA,P1,,2,x\n", "1 rows name no well"),
        ("P1/g.tif,DNA,P1,Z99,2,x\n", "no names of wells: 'Z99'"),
        ("P1/g.tif,DNA,,A01,2,x\n", "1 rows have no plate|some rows have no plate"),
    ],
)
def test_wells_that_contradict_each_other(sheet, extra, message):
    with pytest.raises(DataError, match=message):
        plates(sheet(PLANES + extra))


def test_rows_without_plate_are_not_dropped_beside_a_plate_map(sheet):
    screen = sheet(PLANES + "P1/g.tif,DNA,,A01,2,x\n", plate_map="map.csv")
    (Path(screen["root"]) / "map.csv").write_text("well,compound\nA1,DMSO\n")
    with pytest.raises(DataError, match=r"images.csv: some rows have no plate"):
        plates(screen)


def test_a_table_that_is_not_there(sheet):
    with pytest.raises(ConfigError, match=r"screen.table: the file .*none.csv does not exist"):
        plates(sheet(PLANES, table="none.csv"))
    with pytest.raises(ConfigError, match=r"screen.root: the folder .*none does not exist"):
        plates(sheet(PLANES) | {"root": "none", "table": str(Path(sheet(PLANES)["root"]) / "images.csv")})


@pytest.mark.parametrize("rows", [0, 2])
def test_a_table_without_rows(sheet, rows):
    text = PLANES.partition("\n")[0] + "\n" + ",,,,,\n" * rows
    with pytest.raises(DataError, match=r"images.csv names no image: it needs a row an image"):
        plates(sheet(text))


def test_rows_without_any_value_are_passed_over(sheet):
    screen = sheet(PLANES + ",,,,,\n")
    assert list(plates(screen)) == ["P1", "P2"]
    assert paths(screen, "P2") == [["P2/e.tif", "P2/f.tif"]]


def test_a_changed_table_is_read_anew(sheet, tmp_path):
    cache = tmp_path / "plates.json"
    assert list(plates(sheet(PLANES), cache=cache)) == ["P1", "P2"]
    assert list(plates(sheet(PLANES.replace("P2", "P30")), cache=cache)) == ["P1", "P30"]


def test_only_rows_of_the_plate_and_needed_columns_are_read(sheet, monkeypatch):
    sizes = []
    read = sheet_module.ImageSheet.images.__globals__["read_some"]

    def counted(path, columns, **options):
        rows = read(path, columns, **options)
        sizes.append((len(rows), sorted(columns)))
        return rows

    monkeypatch.setitem(sheet_module.ImageSheet.images.__globals__, "read_some", counted)
    screen = sheet(PLANES)
    layout = sheet_module.SheetLayout(screen)
    layout.images(plates(screen)["P2"])
    assert sizes[-2:] == [
        (6, ["channel", "plate", "well"]),
        (2, ["channel", "path", "plate", "site", "well"]),
    ]


def test_real_samplesheet(test_data, tmp_path):
    folder = "2021_04_26_Batch1/images/BR00117035__2021-05-02T16_02_51-Measurement1/Images"
    for name in ("r01c01f01p01-ch5sk1fk1fl1.tiff", "r01c01f01p01-ch2sk1fk1fl1.tiff", "r02c01f02p01-ch5sk1fk1fl1.tiff"):
        write_image(tmp_path / folder / name, 0)
    (tmp_path / "map.csv").write_text("well,perturbation\nA01,DMSO\n")
    screen = {
        "layout": "sheet",
        "root": str(tmp_path),
        "table": str(test_data / "headers/nfcore_samplesheet.csv"),
        "channels": ["DNA", "AGP"],
        "batch": "experiment",
        "controls": ["DMSO"],
        "url_prefix": "s3://cellpainting-gallery/cpg0016-jump/source_4/images",
        "plate_map": "map.csv",
    }
    (plate,) = plates(screen).values()
    assert (plate.name, plate.batch) == ("BR00117035", "2021_04_26_Batch1")
    fields = index_fields(screen, plate.slug)
    assert list(zip(fields["well"], fields["site"], strict=True)) == [
        *[("A01", 1), ("A01", 2), ("A02", 1), ("A02", 2), ("B01", 1), ("B01", 2)]
    ]
    assert fields["path_DNA"].iloc[0] == f"{folder}/r01c01f01p01-ch5sk1fk1fl1.tiff"
    assert fields["path_AGP"].iloc[0] == f"{folder}/r01c01f01p01-ch2sk1fk1fl1.tiff"
    assert fields[["path_DNA", "path_AGP"]].notna().sum().tolist() == [2, 1]


def test_pixels_from_the_table_to_the_store(tmp_path):
    rows, expected = [], {}
    for plate in ("P1", "P2"):
        for well, compound in (("A1", "DMSO"), ("B2", "taxol")):
            pixels = []
            for number, channel in enumerate(("DNA", "ER")):
                path = f"any/{channel}/{plate}-{well}.tif"
                pixels.append(write_image(tmp_path / path, 10 * len(rows) + number))
                rows.append({"Path": path, "Channel": channel, "Plate": plate, "Well": well, "Compound": compound})
            expected[plate, f"{well[0]}0{well[1]}", 1] = np.stack(pixels)
    pd.DataFrame(rows).sample(frac=1, random_state=0).to_csv(tmp_path / "sheet.tsv", sep="\t", index=False)
    screen = {
        "layout": "sheet",
        "root": str(tmp_path),
        "table": "sheet.tsv",
        "channels": ["DNA", "ER"],
        "batch": "plate",
        "controls": ["DMSO"],
        "columns": {"perturbation": "compound"},
    }
    stored = stored_fields(screen, tmp_path / "tiles")
    assert stored.keys() == expected.keys()
    for field, pixels in expected.items():
        np.testing.assert_array_equal(stored[field], pixels)
    assert index_wells(screen, "P2")["role"].tolist() == ["negative_control", "treatment"]


def test_a_change_of_images_is_told_plate_by_plate(sheet):
    before = plates(sheet(PLANES))
    shuffled = "\n".join([PLANES.splitlines()[0], *reversed(PLANES.splitlines()[1:])]) + "\n"
    assert plates(sheet(shuffled)) == before
    relabelled = plates(sheet(PLANES.replace("taxol", "nocodazole")))
    assert relabelled["P1"].images_digest == before["P1"].images_digest
    assert relabelled["P1"].wells_digest != before["P1"].wells_digest
    moved = plates(sheet(PLANES.replace("P1/c.tif", "P1/other.tif")))
    assert moved["P1"].images_digest != before["P1"].images_digest
    assert moved["P2"] == before["P2"]


def test_one_plate_needs_no_name_for_its_digest(sheet):
    nameless = "\n".join(line.replace(",P1,", ",").replace(",plate,", ",") for line in PLANES.splitlines()[:5]) + "\n"
    (plate,) = plates(sheet(nameless)).values()
    assert plate.images_digest
