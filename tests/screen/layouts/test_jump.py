from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from upath import UPath

from cellmae.errors import ConfigError, DataError
from cellmae.screen import index_fields, index_wells, plates, summarise, survey
from cellmae.screen.layouts import open_layout

from .end_to_end import stored_fields, write_image

Screen = dict[str, Any]
BATCH = "2021_04_26_Batch1"
FOLDER = f"images/{BATCH}/images/BR1__2021-05-02T16_02_51-Measurement1/Images"
GALLERY = "s3://cellpainting-gallery/cpg0016-jump/source_4"
MAPS = f"workspace/metadata/platemaps/{BATCH}"
TABLE = f"workspace/load_data_csv/{BATCH}/BR1/load_data.csv"


def image(row: int, column: int, field: int, channel: int) -> str:
    return f"r{row:02d}c{column:02d}f{field:02d}p01-ch{channel}sk1fk1fl1.tiff"


@pytest.fixture
def gallery(tmp_path: Path) -> Callable[..., Screen]:
    """Return a function that makes a screen: a plate with two wells, its plate map, and texts by path."""

    def make(texts: dict[str, str] | None = None, *, folders: tuple[str, ...] = (FOLDER,), **changes: Any) -> Screen:
        for folder in folders:
            for column in (1, 2):
                for channel in (1, 5):
                    write(tmp_path / folder / image(1, column, 1, channel), "pixels")
        write(tmp_path / MAPS / "barcode_platemap.csv", "Assay_Plate_Barcode,Plate_Map_Name\nBR1,m1\n")
        write(tmp_path / MAPS / "platemap/m1.txt", "plate_map_name\twell_position\tgene\nm1\ta1\tDMSO\nm1\ta02\tPLK1\n")
        for path, text in (texts or {}).items():
            write(tmp_path / path, text)
        return {
            "layout": "jump",
            "root": str(tmp_path),
            "channels": ["DNA", "Mito"],
            "batch": "experiment",
            "controls": ["DMSO"],
            "plate_map": f"{MAPS}/barcode_platemap.csv",
            "columns": {"well": "well", "perturbation": "gene"},
            **changes,
        }

    return make


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def urls(prefix: str = f"{GALLERY}/{FOLDER}") -> str:
    """A table as the gallery has them."""
    rows = ["URL_OrigMito,URL_OrigDNA,URL_OrigAGP,Metadata_Plate,Metadata_Well,Metadata_Site,Metadata_PlaneID"]
    rows += [
        f"{prefix}/{image(1, n, 1, 1)},{prefix}/{image(1, n, 1, 5)},{prefix}/{image(1, n, 1, 2)},BR1,A0{n},1,1"
        for n in (1, 2)
    ]
    return "\n".join(rows) + "\n"


def names(folder: str) -> str:
    """A table as CellProfiler wants it on the machine that wrote it."""
    rows = [
        "Metadata_Plate,Metadata_Well,Metadata_Site,FileName_OrigDNA,PathName_OrigDNA,FileName_OrigMito,PathName_OrigMito"
    ]
    rows += [f"BR1,A0{n},1,{image(1, n, 1, 5)},{folder},{image(1, n, 1, 1)},{folder}" for n in (1, 2)]
    return "\n".join(rows) + "\n"


def paths(screen: Screen, slug: str = f"{BATCH}_BR1") -> list[list[str | None]]:
    return index_fields(screen, slug)[["path_DNA", "path_Mito"]].to_numpy().tolist()


EXPECTED = [[f"{FOLDER}/{image(1, column, 1, channel)}" for channel in (5, 1)] for column in (1, 2)]


@pytest.mark.parametrize(
    ("table", "options"),
    [
        (urls(), {"url_prefix": GALLERY}),
        (urls(), {}),  # found by their names in the plate's folder
        (names("/home/ubuntu/bucket/projects/x/BR1__2021-05-02T16_02_51-Measurement1/Images/"), {}),
        (names(rf"D:\screens\{BATCH}\BR1"), {}),
        (names(f"/mnt/source_4/{FOLDER}"), {"url_prefix": "/mnt/source_4"}),
        (names(f"{GALLERY}/{FOLDER}/"), {"url_prefix": GALLERY}),
        (names(FOLDER), {}),
        (names("demo/backend/data/raw_core/BR1"), {}),
    ],
)
def test_load_data(gallery, table, options):
    screen = gallery({TABLE: table}, **options)
    assert paths(screen) == EXPECTED
    wells = index_wells(screen, f"{BATCH}_BR1")
    assert wells[["well", "perturbation", "role", "batch"]].to_numpy().tolist() == [
        ["A01", "DMSO", "negative_control", BATCH],
        ["A02", "PLK1", "treatment", BATCH],
    ]


def test_absolute_paths_below_root(gallery, tmp_path):
    assert paths(gallery({TABLE: names(str(tmp_path / FOLDER))})) == EXPECTED


@pytest.mark.parametrize("name", ["load_data.csv.gz", "load_data.parquet", "load_data_with_illum.csv"])
def test_other_forms_of_the_table(gallery, tmp_path, name):
    screen = gallery({TABLE: urls(), str(Path(TABLE).with_name("load_data_old.csv")): "not,read\n"})
    table = pd.read_csv(tmp_path / TABLE)
    (tmp_path / TABLE).unlink()
    path = (tmp_path / TABLE).with_name(name)
    table.to_parquet(path) if name.endswith("parquet") else table.to_csv(path, index=False)
    assert paths(screen) == EXPECTED


def test_the_table_without_illumination_comes_first(gallery):
    other = str(Path(TABLE).with_name("load_data_with_illum.csv"))
    assert paths(gallery({TABLE: urls(), other: urls("elsewhere")})) == EXPECTED


@pytest.fixture
def two_plates(gallery) -> Callable[[str, str], Screen]:
    """Return a function that makes a screen of two plates in one table, by its name and ``load_data``."""
    other = FOLDER.replace("BR1", "BR2")
    second = urls(f"{GALLERY}/{other}").replace("BR1,", "BR2,").partition("\n")[2]

    def make(name: str, load_data: str) -> Screen:
        screen = gallery({name: urls() + second}, folders=(FOLDER, other), load_data=load_data, batch="plate")
        barcodes = "Assay_Plate_Barcode,Plate_Map_Name\nBR1,m1\nBR2,m1\n"
        write(Path(screen["root"]) / MAPS / "barcode_platemap.csv", barcodes)
        return screen

    return make


def test_one_table_for_all_plates(two_plates):
    screen = two_plates("tables/all.csv", "tables/*.csv")
    assert list(plates(screen)) == ["BR1", "BR2"]
    assert paths(screen, "BR1") == EXPECTED
    assert paths(screen, "BR2") == [[path.replace("BR1", "BR2") for path in field] for field in EXPECTED]
    two_plates("tables/again.csv", "tables/*.csv")
    with pytest.raises(
        ConfigError, match=r"screen.load_data: .*again.csv and .*all.csv are of the same plate; name one"
    ):
        plates(screen)


def test_one_table_a_batch(two_plates):
    screen = two_plates(f"tables/{BATCH}.csv", "tables/{batch}.csv")
    assert {slug: plate.experiment for slug, plate in plates(screen).items()} == {
        f"{BATCH}_{plate}": BATCH for plate in ("BR1", "BR2")
    }
    assert paths(screen) == EXPECTED


def test_load_data_that_is_not_there(gallery):
    with pytest.raises(ConfigError, match=r"screen.load_data: no file below .* matches 'tables/\{plate\}.csv'"):
        plates(gallery(load_data="tables/{plate}.csv"))
    with pytest.raises(ConfigError, match=r"screen.load_data: .* must lead from screen.root downwards"):
        plates(gallery(load_data="../{plate}.csv"))


def test_missing_files_are_counted(gallery, tmp_path):
    screen = gallery({TABLE: urls()})
    (tmp_path / FOLDER / image(1, 2, 1, 5)).unlink()
    assert paths(screen) == [EXPECTED[0], [None, EXPECTED[1][1]]]
    slug = f"{BATCH}_BR1"
    assert summarise(index_fields(screen, slug), index_wells(screen, slug)).missing_files == {"DNA": 1, "Mito": 0}


def test_a_table_that_has_gone_since_the_plates_were_looked_up(gallery, tmp_path):
    screen = gallery({TABLE: urls(), TABLE.replace("BR1", "BR9"): urls()})
    (plate,) = plates(screen).values()
    (tmp_path / TABLE).unlink()
    with pytest.raises(DataError, match=rf"no table load_data of the plate {plate.slug} \(any more\): put it there"):
        open_layout(screen).images(plate)


def test_images_elsewhere_are_refused(gallery):
    screen = gallery({TABLE: urls("s3://other/images")}, folders=())
    with pytest.raises(
        DataError, match=r"'s3://other/images/r01c01.*', the image of well A01, .* as screen.url_prefix"
    ):
        paths(screen)


def test_links_out_of_root_are_refused(gallery, tmp_path):
    screen = gallery({TABLE: urls()}, url_prefix=GALLERY)
    for name in ("images", "workspace"):
        (tmp_path / "inner").mkdir(exist_ok=True)
        (tmp_path / name).rename(tmp_path / "inner" / name)
    screen["root"] = str(tmp_path / "inner")
    (tmp_path / "secret").touch()
    (tmp_path / "inner" / EXPECTED[0][0]).unlink()
    (tmp_path / "inner" / EXPECTED[0][0]).symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match=r"well A01, site 1, channel DNA, z 1, is not below"):
        paths(screen)


@pytest.mark.parametrize("with_table", [True, False])
def test_object_storage(gallery, tmp_path, with_table):
    screen = gallery({TABLE: urls()} if with_table else {}, channel_ids=None if with_table else [5, 1])
    root = UPath("memory://gallery/source_4")
    for path in tmp_path.rglob("*.*"):
        if path.is_file():
            copy = root / path.relative_to(tmp_path).as_posix()
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    screen["root"] = str(root)
    try:
        assert paths(screen) == EXPECTED
        assert index_fields(screen, f"{BATCH}_BR1")["size"].tolist() == [12, 12]
    finally:
        root.fs.rm("/gallery", recursive=True)


def test_tables_that_come_later_are_seen(gallery, tmp_path):
    cache = tmp_path / "plates.json"
    screen = gallery()
    assert list(plates(screen, cache=cache)) == [f"{BATCH}_BR1"]
    gallery({TABLE.replace("BR1", "BR2"): urls()})
    with pytest.raises(DataError, match=rf"there are images of {BATCH} BR2, and annotations of"):
        plates(screen, cache=cache)


def test_a_plate_that_was_measured_twice(gallery):
    again = FOLDER.replace("Measurement1", "Measurement2")
    two = gallery(folders=(FOLDER, again))
    with pytest.raises(ConfigError, match=r"screen.root: .* several measurements of a plate \(BR1\); keep one"):
        plates(two)
    assert paths(gallery({TABLE: urls()})) == EXPECTED  # whose names hold the folder's
    with pytest.raises(
        ConfigError, match=r"several measurements of a plate \(BR1__.*Measurement1, BR1__.*Measurement2\)"
    ):
        paths(gallery({TABLE: names("/elsewhere/BR1")}))


def test_the_folder_itself(gallery):
    plain = FOLDER.replace("BR1__2021-05-02T16_02_51-Measurement1", "BR3")
    screen = gallery(folders=(FOLDER, plain), channel_ids=[5, 1])
    found = survey(screen)
    assert list(found.plates) == [f"{BATCH}_BR1"]
    assert found.without_annotation == [f"{BATCH} BR3"]
    assert paths(screen) == EXPECTED
    assert index_wells(screen, f"{BATCH}_BR1")["perturbation"].tolist() == ["DMSO", "PLK1"]
    numbered = gallery(channels=["Mito", "AGP"])
    fields = index_fields(numbered, f"{BATCH}_BR1")
    assert fields["path_Mito"].tolist() == [field[1] for field in EXPECTED]
    assert fields["path_AGP"].isna().all()


def test_nothing_at_all(gallery):
    with pytest.raises(
        ConfigError, match=r"screen.root: no file below .* matches 'images/\{batch\}/images/\{plate\}/Im"
    ):
        plates(gallery(folders=()))


def test_real_load_data_of_urls(test_data, tmp_path):
    table = pd.read_csv(test_data / "headers/nfcore_load_data.csv")
    folder = tmp_path / "workspace/load_data_csv/2021_04_26_Batch1/BR00117035"
    folder.mkdir(parents=True)
    table.to_csv(folder / "load_data.csv.gz", index=False)
    for channel in ("Brightfield_H", "DNA"):
        write(tmp_path / table[f"URL_Orig{channel}"].iloc[0].removeprefix(GALLERY + "/"), "pixels")
    (tmp_path / "map.csv").write_text("well,perturbation\nA01,DMSO\n")
    screen = {
        "layout": "jump",
        "root": str(tmp_path),
        "channels": ["DNA", "Brightfield_H", "AGP"],
        "batch": "experiment",
        "controls": ["DMSO"],
        "url_prefix": GALLERY,
        "plate_map": "map.csv",
    }
    fields = index_fields(screen, "2021_04_26_Batch1_BR00117035")
    folder = "images/2021_04_26_Batch1/images/BR00117035__2021-05-02T16_02_51-Measurement1/Images"
    assert fields[["well", "site", "path_DNA", "path_Brightfield_H", "path_AGP"]].to_numpy().tolist() == [
        ["A01", 1, f"{folder}/{image(1, 1, 1, 5)}", f"{folder}/{image(1, 1, 1, 6)}", None]
    ]


def test_real_load_data_of_names(test_data, tmp_path):
    for column in (1, 2):
        write(tmp_path / "raw/BR00000001" / image(1, column, 1, 5), "pixels")
    write(tmp_path / "raw/map.csv", "well,perturbation\nA01,DMSO\n")
    write(tmp_path / "raw/tables/all.csv", (test_data / "headers/load_data_with_illum.csv").read_text())
    screen = {
        "layout": "jump",
        "root": str(tmp_path / "raw"),
        "channels": ["DNA", "HighZBF"],
        "batch": "plate",
        "controls": ["DMSO"],
        "load_data": "tables/all.csv",
        "url_prefix": "demo/backend/profiling_backend/data/raw_core",
        "plate_map": "map.csv",
    }
    fields = index_fields(screen, "BR00000001")
    assert fields[["well", "path_DNA", "path_HighZBF"]].to_numpy().tolist() == [
        *[["A01", f"BR00000001/{image(1, 1, 1, 5)}", None], ["A02", f"BR00000001/{image(1, 2, 1, 5)}", None]]
    ]


@pytest.mark.parametrize("with_table", [True, False])
def test_pixels_from_the_gallery_to_the_store(gallery, tmp_path, with_table):
    screen = gallery(
        {TABLE: urls()} if with_table else {}, folders=(), **({} if with_table else {"channel_ids": [5, 1]})
    )
    expected = {
        (f"{BATCH}_BR1", f"A0{column}", 1): np.stack(
            [write_image(tmp_path / FOLDER / image(1, column, 1, channel), 10 * column + channel) for channel in (5, 1)]
        )
        for column in (1, 2)
    }
    stored = stored_fields(screen, tmp_path / "tiles")
    assert stored.keys() == expected.keys()
    for field, pixels in expected.items():
        np.testing.assert_array_equal(stored[field], pixels)


def test_a_changed_table_is_told(gallery) -> None:
    (before,) = plates(gallery({TABLE: urls()}, url_prefix=GALLERY)).values()
    (after,) = plates(gallery({TABLE: urls().replace("f01p01", "f02p01")}, url_prefix=GALLERY)).values()
    assert before.images_digest != after.images_digest
    assert before.wells_digest == after.wells_digest
