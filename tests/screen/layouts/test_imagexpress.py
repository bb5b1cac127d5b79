import shutil
import uuid
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from upath import UPath

from cellmae.errors import ConfigError, DataError
from cellmae.screen import index_fields, index_wells, plates, summarise
from cellmae.screen.htd import read_description

from .end_to_end import stored_fields, write_image

Screen = dict[str, Any]
PLATE = "2023-02-21/9987"
SMALL = [f"TimePoint_1/plate_{well}_s1_w{channel}.TIF" for well in ("B02", "B03") for channel in (1, 2)]


def description(**changes: list[str]) -> str:
    """Two of 96 wells, two sites of which one is selected, two wavelengths."""
    values = {
        "HTSInfoFile": ["Version 1.0"],
        "Description": ['"a, b \x81"'],
        "TimePoints": ["1"],
        "ZSeries": ["FALSE"],
        "XWells": ["12"],
        "YWells": ["8"],
        **{
            f"WellsSelection{row}": ["TRUE" if row == 2 and column in (2, 3) else "FALSE" for column in range(1, 13)]
            for row in range(1, 9)
        },
        "Sites": ["TRUE"],
        "XSites": ["2"],
        "YSites": ["1"],
        "SiteSelection1": ["TRUE", "FALSE"],
        "Waves": ["TRUE"],
        "NWavelengths": ["2"],
        "WaveName1": ['"DAPI"'],
        "WaveName2": ['"Texas Red"'],
        "WaveCollect1": ["1"],
        "WaveCollect2": ["1"],
        **changes,
    }
    lines = [", ".join([f'"{key}"', *value]) for key, value in values.items() if value]
    return "\r\n".join([*lines, '"EndFile"', ""])


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("latin-1"))


@pytest.fixture
def imagexpress(tmp_path: Path) -> Callable[..., Screen]:
    """Return a function that makes a screen: the files of a plate, its description, and a plate map."""

    def make(files: list[str], htd: str | None = None, *, plate: str = PLATE, **changes: Any) -> Screen:
        for file in files:
            write(tmp_path / "root" / plate / file, "pixels")
        if htd is not None:
            write(tmp_path / "root" / plate / "plate.HTD", htd)
        write(tmp_path / "root/map.csv", "well,perturbation\nB02,DMSO\nB03,PLK1\n")
        return {
            "layout": "imagexpress",
            "root": str(tmp_path / "root"),
            "channels": ["DNA", "ER"],
            "batch": "plate",
            "controls": ["DMSO"],
            "plate_map": "map.csv",
            **changes,
        }

    return make


def paths(screen: Screen, slug: str = "9987") -> list[list[Any]]:
    """Well, site and paths below the plate's folder."""
    fields = index_fields(screen, slug)
    own = [name for name in fields.columns if name.startswith("path_")]

    def below(path: Any) -> Any:
        return [below(part) for part in path] if isinstance(path, list) else path and path.removeprefix(PLATE + "/")

    return [[well, site, *map(below, rest)] for well, site, *rest in fields[["well", "site", *own]].to_numpy().tolist()]


EXPECTED = [["B02", 1, *SMALL[:2]], ["B03", 1, *SMALL[2:]]]


@pytest.mark.parametrize("htd", [None, description()])
@pytest.mark.parametrize("folder", ["TimePoint_1/ZStep_1/", "TimePoint_1/", "ZStep_1/", ""])
@pytest.mark.parametrize(
    "name", ["plate_{}_w{}.TIF", "a_B01_s9_x_{}_s1_w{}.tif", "{}_s1_w{}_[{uuid}].TIF", "my plate_{}_w{}{uuid}.tiff"]
)
def test_names_of_files(imagexpress, htd, folder, name):
    def file(well: str, channel: int) -> str:
        return folder + name.format(well, channel, uuid=str(uuid.UUID(int=channel)).upper())

    files = [file(well, channel) for well in ("B02", "B03") for channel in (1, 2)]
    thumbs = [f"{folder}plate_B02_s1_w1_thumb{uuid.UUID(int=3)}.tif", f"{folder}plate_B02_s1_w1_thumb.tif"]
    others = [f"{folder}._plate_B02_s1_w1.TIF", f"{folder}notes.txt", f"{folder}plate_B02_s1_w1.TIF.bak"]
    screen = imagexpress([*files, *thumbs, *others], htd)
    assert list(plates(screen)) == ["9987"]
    assert paths(screen) == [["B02", 1, *files[:2]], ["B03", 1, *files[2:]]]
    assert index_wells(screen, "9987")[["well", "perturbation"]].to_numpy().tolist() == [
        ["B02", "DMSO"],
        ["B03", "PLK1"],
    ]


@pytest.mark.parametrize("htd", [None, description(Waves=["FALSE"], NWavelengths=[], WaveName1=[], WaveName2=[])])
def test_one_channel_needs_no_number(imagexpress, htd):
    screen = imagexpress(["plate_B02_s1.TIF", "plate_B03_s1.TIF"], htd, channels=["DNA"])
    assert paths(screen) == [["B02", 1, "plate_B02_s1.TIF"], ["B03", 1, "plate_B03_s1.TIF"]]


def test_several_sites(imagexpress):
    screen = imagexpress([f"plate_B02_s{site}.TIF" for site in (1, 2, 10)], channels=["DNA"])
    assert [field[:2] for field in paths(screen)] == [["B02", 1], ["B02", 2], ["B02", 10]]


@pytest.mark.parametrize(("plate", "name"), [("P1", "P1"), ("a/b/P 1", "P 1"), (".", "root")])
def test_where_plates_lie(imagexpress, plate, name):
    screen = imagexpress(SMALL, plate=plate)
    assert [known.name for known in plates(screen).values()] == [name]


def test_plates_that_lie_too_deep_or_hold_no_images_are_not_found(imagexpress):
    imagexpress(["map.xlsx"], description(), plate="a/P1")
    with pytest.raises(ConfigError, match=r"screen.root: no folder at most three levels below .* holds TimePoint_1"):
        plates(imagexpress(SMALL, plate="a/b/c/P1"))


def test_folders_of_one_name_are_named(imagexpress):
    imagexpress(SMALL, plate="day 1/P1")
    with pytest.raises(ConfigError, match=r"several measurements of the plate P1 \(day 1/P1, day 2/P1\); keep one"):
        plates(imagexpress(SMALL, plate="day 2/P1"))


def test_time_points(imagexpress):
    later = [file.replace("TimePoint_1", "TimePoint_2") for file in SMALL]
    files = [*SMALL, *later]
    assert paths(imagexpress(files)) == EXPECTED
    assert paths(imagexpress(files, timepoint=2)) == [["B02", 1, *later[:2]], ["B03", 1, *later[2:]]]
    with pytest.raises(ConfigError, match=r"screen.timepoint: .*9987 has the time points 1, 2"):
        index_fields(imagexpress(files, timepoint=3), "9987")


def test_a_plate_without_time_points_has_one(imagexpress):
    with pytest.raises(ConfigError, match=r"screen.timepoint: .*9987 has the time points 1"):
        index_fields(imagexpress(["plate_B02_s1_w1.TIF", "plate_B02_s1_w2.TIF"], timepoint=2), "9987")


def stack(*steps: int | None, well: str = "B02") -> list[list[str]]:
    """The planes of two channels; None is what lies beside the folders of steps."""
    folders = ["" if step is None else f"ZStep_{step}/" for step in steps]
    return [[f"TimePoint_1/{folder}plate_{well}_s1_w{channel}.TIF" for folder in folders] for channel in (1, 2)]


def flat(lists: list[list[str]]) -> list[str]:
    return list(chain.from_iterable(lists))


def test_planes(imagexpress):
    planes = stack(1, 2, 3)
    assert paths(imagexpress(flat(planes))) == [["B02", 1, *planes]]
    assert paths(imagexpress(flat(planes), z=3)) == [["B02", 1, planes[0][2], planes[1][2]]]


@pytest.mark.parametrize("step", [0, None])
def test_the_projection_of_the_microscope(imagexpress, step):
    files = flat(stack(step, 1, 2))
    (dna,), (er,) = stack(step)
    assert paths(imagexpress(files)) == [["B02", 1, dna, er]]
    assert paths(imagexpress(files, z=2)) == [["B02", 1, *flat(stack(2))]]


@pytest.mark.parametrize("htd", [None, description()])
def test_channels_may_differ_in_their_planes(imagexpress, htd):
    """Planes and their projection, and a single plane, as in the acquisition of the real description."""
    (dna, *planes), _ = stack(0, 1, 2)
    _, (er,) = stack(1)
    others = [[name.replace("B02", "B03") for name in files] for files in ([dna, *planes], [er])]
    screen = imagexpress([dna, *planes, er, *flat(others)], htd)
    assert paths(screen) == [["B02", 1, dna, er], ["B03", 1, others[0][0], others[1][0]]]


def test_where_a_projection_is_missing_its_planes_are_projected(imagexpress, tmp_path):
    planes = stack(1, 2)
    files = [*flat(stack(0, 1, 2)), *flat(stack(0, 1, 2, well="B03"))]
    screen = imagexpress(files, description())
    (tmp_path / "root" / PLATE / stack(0)[0][0]).unlink()
    assert paths(screen)[0] == ["B02", 1, planes[0], stack(0)[1]]
    (tmp_path / "root" / PLATE / planes[0][1]).unlink()
    assert paths(screen)[0][2] is None


def test_projections_alone_have_no_plane(imagexpress):
    screen = imagexpress(flat(stack(0)), z=1)
    with pytest.raises(ConfigError, match=r"screen.z: there are only projections"):
        index_fields(screen, "9987")


def test_missing_images_have_no_path(imagexpress):
    screen = imagexpress(SMALL[:3], description())
    assert paths(screen) == [EXPECTED[0], ["B03", 1, SMALL[2], None]]
    screen = imagexpress([], description(SiteSelection1=["TRUE", "TRUE"]))
    assert paths(screen) == [EXPECTED[0], ["B02", 2, None, None], ["B03", 1, SMALL[2], None], ["B03", 2, None, None]]
    assert summarise(index_fields(screen, "9987"), index_wells(screen, "9987")).missing_files == {"DNA": 2, "ER": 3}


def test_missing_planes_have_no_path(imagexpress):
    files = [*flat(stack(1, 2)), *flat(stack(1, well="B03"))]
    screen = imagexpress(files, description())
    assert paths(screen) == [["B02", 1, *stack(1, 2)], ["B03", 1, None, None]]
    assert paths({**screen, "z": 1}) == [["B02", 1, *flat(stack(1))], ["B03", 1, *flat(stack(1, well="B03"))]]


def test_images_beyond_the_description_stay(imagexpress):
    screen = imagexpress([*SMALL, "TimePoint_1/plate_C01_s7_w1.TIF"], description())
    assert paths(screen) == [*EXPECTED, ["C01", 7, "TimePoint_1/plate_C01_s7_w1.TIF", None]]


def test_wavelengths_that_were_not_collected_are_not_missing(imagexpress):
    screen = imagexpress([SMALL[0], SMALL[2]], description(WaveCollect2=["0"]), channels=["DNA"])
    assert paths(screen) == [EXPECTED[0][:3], EXPECTED[1][:3]]


@pytest.mark.parametrize("identifiers", [[2, 1], ["Texas Red", "DAPI"], ["Texas Red", 1]])
def test_channels_by_number_or_name(imagexpress, identifiers):
    screen = imagexpress(SMALL, description(), channel_ids=identifiers)
    assert paths(screen) == [[well, site, second, first] for well, site, first, second in EXPECTED]


@pytest.mark.parametrize(
    ("htd", "identifiers", "known"),
    [
        (None, ["DAPI", "Texas Red"], "1, 2: correct"),
        (None, [1, 3], "1, 2: correct"),
        (description(), ["DAPI", "FITC"], "1 DAPI, 2 Texas Red: correct"),
        (description(), ["DAPI", 1], "1 DAPI, 2 Texas Red: correct"),
        (description(WaveName2=['"DAPI"']), ["DAPI", 2], "1 DAPI, 2 DAPI: correct"),
    ],
)
def test_unknown_channels_name_those_there_are(imagexpress, htd, identifiers, known):
    with pytest.raises(DataError, match=f"has no channel .* its channels are {known}"):
        index_fields(imagexpress(SMALL, htd, channel_ids=identifiers), "9987")


def test_one_image_twice_is_refused(imagexpress):
    twice = [f"TimePoint_1/plate_B02_s1_w1{uuid.UUID(int=number)}.tif" for number in (1, 2)]
    with pytest.raises(DataError, match="are both well B02, site 1 of one channel"):
        index_fields(imagexpress([*SMALL[1:], *twice]), "9987")


@pytest.mark.parametrize("htd", [None, description()])
def test_no_image_of_the_channels_is_there(imagexpress, htd):
    screen = imagexpress([SMALL[0]], htd, channels=["ER"], channel_ids=[2])
    with pytest.raises(DataError, match=r"holds no image of the channels 2|has no channel '2'"):
        index_fields(screen, "9987")


@pytest.mark.parametrize(
    ("htd", "reason"),
    [
        ("", "it does not begin with 'HTSInfoFile'"),
        ("<html>", "it does not begin with 'HTSInfoFile'"),
        (description() + " " * 2**20, "longer than"),
        (description(YWells=[]), "it lacks 'YWells'"),
        (description(WellsSelection3=[]), "it lacks 'WellsSelection3'"),
        (description(YWells=["many"]), "invalid literal for int"),
        (description(YWells=["1000000000"]), "1000000000 rows of WellsSelection"),
        (description(YSites=["1000000000"]), "1000000000 rows of SiteSelection"),
        (description(WellsSelection1=["TRUE"] * 100), "wells beyond column 72"),
        (description(Sites=["TRUE"], SiteSelection1=["FALSE"]), "no well, site or wavelength is selected"),
    ],
)
def test_damaged_descriptions_are_named(imagexpress, htd, reason):
    with pytest.raises(DataError, match=rf"plate.HTD describes no plate \(.*{reason}"):
        index_fields(imagexpress(SMALL, htd), "9987")


def test_several_descriptions_are_named(imagexpress, tmp_path):
    screen = imagexpress(SMALL, description())
    write(tmp_path / "root" / PLATE / "other.htd", description())
    with pytest.raises(DataError, match=r"several descriptions of a plate: .*other.htd, .*plate.HTD; keep one"):
        index_fields(screen, "9987")


def test_a_description_in_utf8(tmp_path):
    (tmp_path / "a.HTD").write_text(description(WaveName1=['"β-Tubulin"']), encoding="utf-8")
    assert read_description(tmp_path / "a.HTD").wavelengths == {"1": "β-Tubulin", "2": "Texas Red"}


def test_real_description(test_data, imagexpress, tmp_path):
    real = test_data / "headers/imagexpress_9987.HTD"
    found = read_description(real)
    assert found.wavelengths == {"1": "DAPI", "2": "FITC", "3": "Texas Red", "4": "Cy5"}
    assert (found.collected, found.wells, found.sites) == (["1", "2", "3", "4"], ["B02", "B03"], 2)
    files = [f"TimePoint_1/ZStep_{z}/plate_B02_s1_w1.TIF" for z in (1, 2, 3)]
    single = "TimePoint_1/ZStep_1/plate_B02_s1_w4.TIF"
    screen = imagexpress([*files, single], channel_ids=["Cy5", "DAPI"])
    shutil.copy(real, tmp_path / "root" / PLATE / "9987.HTD")
    nothing = [[well, site, None, None] for well, site in [("B02", 2), ("B03", 1), ("B03", 2)]]
    assert paths(screen) == [["B02", 1, [single], files], *nothing]


def test_object_storage(imagexpress, tmp_path):
    screen = imagexpress(SMALL[:3], description())
    local = tmp_path / "root"
    bucket = UPath("memory://imagexpress/root")
    for path in local.rglob("*"):
        if path.is_file():
            copy = bucket / path.relative_to(local).as_posix()
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    try:
        assert paths({**screen, "root": str(bucket)}) == [EXPECTED[0], ["B03", 1, SMALL[2], None]]
    finally:
        bucket.fs.rm("/imagexpress", recursive=True)


def test_pixels_from_the_plate_to_the_store(imagexpress, tmp_path):
    screen = imagexpress([], description(), channel_ids=["Texas Red", "DAPI"])
    places = [(well, channel, z) for well in ("B02", "B03") for channel in (1, 2) for z in (1, 2, 3)]
    pixels = {}
    for seed, (well, channel, z) in enumerate(places):
        path = tmp_path / "root" / PLATE / f"TimePoint_1/ZStep_{z}/plate_{well}_s1_w{channel}{uuid.UUID(int=seed)}.TIF"
        pixels[well, channel, z] = write_image(path, seed)
    stored = stored_fields(screen, tmp_path / "tiles")
    assert stored.keys() == {("9987", "B02", 1), ("9987", "B03", 1)}
    for (_, well, _), found in stored.items():
        planes = [[pixels[well, channel, z] for z in (1, 2, 3)] for channel in (2, 1)]
        np.testing.assert_array_equal(found, np.max(planes, axis=1))
