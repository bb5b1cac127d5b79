import os
from pathlib import Path

import pytest

from cellmae.errors import ConfigError, DataError
from cellmae.screen.patterns import FilePattern


def make(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("pixels")
    return root


def found(pattern: FilePattern, root: Path) -> list[tuple]:
    return list(pattern.plates(root).plates.itertuples(index=False, name=None))


def test_plates_are_folders_with_an_image(tmp_path):
    make(tmp_path, "images/P1/A01_s1.tif", "images/P2/notes.txt", "images/._P3/A01_s1.tif", "P4/A01_s1.tif")
    assert found(FilePattern("images/{plate}/{well}_s{site}.tif"), tmp_path) == [("P1",)]


def test_plates_in_names_of_files_and_of_batches(tmp_path):
    make(tmp_path, "b1/P_1_A01.tif", "b1/P_1_A02.tif", "b2/P_1_A01.tif")
    assert found(FilePattern("{batch}/{plate}_{well}.tif"), tmp_path) == [("b1", "P_1"), ("b2", "P_1")]


def test_a_placeholder_that_comes_twice_must_agree(tmp_path):
    make(tmp_path, "P1/P1_A01.tif", "P1/P2_A02.tif", "P3/P3_A01_P3.tif")
    assert found(FilePattern("{plate}/{plate}_{well}.tif"), tmp_path) == [("P1",)]
    assert found(FilePattern("{plate}/{plate}_{well}_{plate}.tif"), tmp_path) == [("P3",)]


def test_images_of_one_plate(tmp_path):
    make(tmp_path, "P1/b2_s02_w1.tif", "P1/B02_s02_w2.tif", "P1/B02_s02_w3.tif", "P1/thumb.tif", "P2/A01_s1_w1.tif")
    images = FilePattern("{plate}/{well}_s{site}_w{channel}.tif", ["1", "2"]).images(tmp_path, {"plate": "P1"})
    images = images.sort_values("channel")
    assert images["well"].tolist() == ["B02", "B02"]
    assert images["site"].tolist() == [2, 2]
    assert images["path"].tolist() == ["P1/b2_s02_w1.tif", "P1/B02_s02_w2.tif"]
    assert images["size"].tolist() == [6, 6]
    assert images["mtime_ns"].tolist() == [(tmp_path / path).stat().st_mtime_ns for path in images["path"]]


def test_rows_and_columns_make_wells(tmp_path):
    make(tmp_path, "r02c03f01-ch1sk1.tiff", "A-12.tif")
    images = FilePattern("r{row}c{column}f{site}-ch{channel}sk*.tiff", ["1"]).images(tmp_path, {})
    assert images["well"].tolist() == ["B03"]
    assert FilePattern("{row}-{column}.tif").images(tmp_path, {})["well"].tolist() == ["A12"]


def test_a_known_channel_wins_over_the_star(tmp_path):
    make(tmp_path, "A01_w1C0FFEE.tif", "A01_DAPI_001.tif")
    assert FilePattern("{well}_w{channel}*.tif", ["1"]).images(tmp_path, {})["channel"].tolist() == ["1"]
    assert FilePattern("{well}_{channel}_*.tif", ["DAPI"]).images(tmp_path, {})["channel"].tolist() == ["DAPI"]


def test_other_channels_than_expected_are_named(tmp_path):
    make(tmp_path, "P1/A01_DAPI.tif")
    with pytest.raises(DataError, match=r"plate P1 have the channels DAPI; screen.channel_ids expects 1, 2"):
        FilePattern("{plate}/{well}_{channel}.tif", ["1", "2"]).images(tmp_path, {"plate": "P1"})


@pytest.mark.parametrize(
    "pattern", ["../{well}.tif", "/data/{well}.tif", "a/../{well}.tif", "a//{well}.tif", "./{well}.tif"]
)
def test_patterns_stay_below_the_root(pattern):
    with pytest.raises(ConfigError, match=r"screen.pattern: .* downwards"):
        FilePattern(pattern)


@pytest.mark.parametrize("name", ["..", ".", "../outside", "/etc"])
def test_names_of_plates_do_not_lead_outside(tmp_path, name):
    make(tmp_path, "outside/A01.tif", "root/P1/A01.tif", "A01.tif")
    assert FilePattern("{plate}/{well}.tif").images(tmp_path / "root", {"plate": name}).empty


def test_linked_plates_are_found_and_named_by_their_link(tmp_path):
    make(tmp_path, "archive/A01.tif", "root/P1/A01.tif")
    (tmp_path / "root/P2").symlink_to(tmp_path / "archive")
    (tmp_path / "root/P1/A02.tif").symlink_to(tmp_path / "gone.tif")
    pattern = FilePattern("{plate}/{well}.tif")
    assert found(pattern, tmp_path / "root") == [("P1",), ("P2",)]
    assert pattern.images(tmp_path / "root", {"plate": "P2"})["path"].tolist() == ["P2/A01.tif"]
    assert pattern.images(tmp_path / "root", {"plate": "P1"})["well"].tolist() == ["A01"]


def test_special_characters_are_taken_literally(tmp_path):
    make(tmp_path, "; rm -rf x/A01 (1)+.tif", "; rm -rf x/A02 1.tif")
    pattern = FilePattern("{plate}/{well} (1)+.tif")
    assert found(pattern, tmp_path) == [("; rm -rf x",)]
    assert pattern.images(tmp_path, {"plate": "; rm -rf x"})["well"].tolist() == ["A01"]


def test_unknown_placeholders_and_patterns_without_well_are_refused():
    with pytest.raises(ConfigError, match=r"unknown placeholder \{field\}; known are \{batch\}"):
        FilePattern("{well}_{field}.tif")
    with pytest.raises(ConfigError, match=r"needs \{well\}"):
        FilePattern("{plate}_{site}.tif")


def test_no_match_says_what_there_is(tmp_path):
    make(tmp_path, "pictures/A01.tif")
    with pytest.raises(ConfigError, match=r"no file below .* matches 'images/\{well\}.tif'; the folder holds pictures"):
        FilePattern("images/{well}.tif").plates(tmp_path)


def test_only_the_folders_on_the_way_are_listed(tmp_path, monkeypatch):
    make(tmp_path, "images/P1/A01.tif", "other/deep/A01.tif")
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: listed.append(Path(folder).name) or scandir(folder))
    FilePattern("images/{plate}/{well}.tif").plates(tmp_path)
    assert listed == ["images", "P1"]
