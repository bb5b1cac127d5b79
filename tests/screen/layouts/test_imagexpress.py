from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellmae.errors import ConfigError, DataError
from cellmae.screen import index_fields, plates
from cellmae.screen.layouts.imagexpress import read_settings

from .end_to_end import stored_fields, write_image

Screen = dict[str, Any]
UUID = "6F0BA473-D18A-4A31-8DB8-E2087BC78145"
SETTINGS = """"HTSInfoFile", Version 1.0
"XWells", 2
"YWells", 1
"WellsSelection1", TRUE, TRUE
"Sites", TRUE
"XSites", 2
"YSites", 1
"SiteSelection1", TRUE, FALSE
"Waves", TRUE
"NWavelengths", 2
"WaveName1", "DAPI"
"WaveName2", "Cy5"
"EndFile"
"""


@pytest.fixture
def screen(tmp_path: Path) -> Callable[..., Screen]:
    """Return a function that makes a screen of the plate P1 from the names of its images."""

    def make(*files: str, settings: str | None = None, **changes: Any) -> Screen:
        for seed, file in enumerate(files):
            write_image(tmp_path / "run" / "P1" / file, seed)
        if settings is not None:
            (tmp_path / "run/P1/P1.HTD").write_text(settings)
        (tmp_path / "map.csv").write_text("plate,well,compound\nP1,A1,DMSO\nP1,A2,taxol\n")
        return {
            "layout": "imagexpress", "root": str(tmp_path), "channels": ["dna", "actin"], "batch": "plate",
            "controls": ["DMSO"], "plate_map": "map.csv", "columns": {"plate": "plate", "perturbation": "compound"},
            **changes,
        }  # fmt: skip

    return make


def images(pattern: str) -> list[str]:
    return [pattern.format(well=well, channel=channel) for well in ("A01", "A02") for channel in (1, 2)]


def paths(screen: Screen) -> list[list[Any]]:
    table = index_fields(screen, "P1")
    return table[[column for column in table if column.startswith("path")]].to_numpy().tolist()


@pytest.mark.parametrize(
    "pattern",
    [
        "P1_{well}_s1_w{channel}.TIF",
        "P1_{well}_w{channel}.tif",
        f"TimePoint_1/P1_{{well}}_s1_w{{channel}}{UUID}.TIF",
        "TimePoint_1/ZStep_1/a_plate_{well}_s1_w{channel}.tiff",
        "ZStep_1/{well}_s1_w{channel}.tif",
    ],
)
def test_parts_of_the_names_may_be_absent(screen, pattern) -> None:
    made = screen(*images(pattern), "P1_A01_s1_w1_thumb.TIF")
    assert list(plates(made)) == ["P1"]
    first, second, third, fourth = (f"run/P1/{file}" for file in images(pattern))
    assert paths(made) == [[first, second], [third, fourth]]


def test_one_channel_needs_no_number(screen) -> None:
    made = screen("P1_A01_s2.TIF", "P1_A02_s1.TIF", channels=["dna"])
    assert paths(made) == [["run/P1/P1_A01_s2.TIF"], ["run/P1/P1_A02_s1.TIF"]]
    assert index_fields(made, "P1")["site"].tolist() == [2, 1]


def test_stored_pixels_are_those_of_the_files(screen, tmp_path: Path) -> None:
    stored = stored_fields(screen(*images("P1_{well}_s1_w{channel}.TIF")), tmp_path / "out")
    assert list(stored) == [("P1", "A01", 1), ("P1", "A02", 1)]
    pixels = [np.random.default_rng(seed).integers(0, 256, (32, 32), dtype=np.uint8) for seed in (2, 3)]
    assert np.array_equal(stored["P1", "A02", 1], pixels)


def test_what_should_be_there_and_is_not_is_missing(screen) -> None:
    files = images("TimePoint_1/P1_{well}_s1_w{channel}.TIF")
    made = screen(*files[:-1], settings=SETTINGS)
    assert paths(made) == [[f"run/P1/{files[0]}", f"run/P1/{files[1]}"], [f"run/P1/{files[2]}", None]]
    empty_well = screen(
        settings=SETTINGS.replace('"XWells", 2', '"XWells", 3').replace("TRUE, TRUE", "TRUE, TRUE, TRUE")
    )
    assert paths(empty_well)[2] == [None, None]


def test_wavelengths_by_their_names(screen) -> None:
    files = images("P1_{well}_s1_w{channel}.TIF")
    made = screen(*files, settings=SETTINGS, channel_ids=["Cy5", "DAPI"])
    assert paths(made)[0] == [f"run/P1/{files[1]}", f"run/P1/{files[0]}"]
    with pytest.raises(
        DataError, match=r"has the channels|have the channels 1 \(DAPI\), 2 \(Cy5\); screen.channel_ids"
    ):
        index_fields(made | {"channel_ids": ["GFP", "RFP"]}, "P1")


def test_a_stack_is_projected_by_the_microscope_or_here(screen) -> None:
    planes = [file for z in (1, 2) for file in images(f"TimePoint_1/ZStep_{z}/P1_{{well}}_s1_w{{channel}}.TIF")]
    made = screen(*planes)
    stack = [f"run/P1/TimePoint_1/ZStep_{z}/P1_A01_s1_w1.TIF" for z in (1, 2)]
    assert list(paths(made)[0][0]) == stack
    assert paths(made | {"z": 2})[0][0] == stack[1]
    projected = "TimePoint_1/ZStep_0/P1_{}_s1_w1.TIF"
    made = screen(*(projected.format(well) for well in ("A01", "A02")))
    assert list(paths(made)[0][0]) == [f"run/P1/{projected.format('A01')}"]
    assert len(paths(made)[0][1]) == 2  # of this channel there are the planes only
    assert paths(made | {"z": 1})[0][0] == stack[0]


def test_a_channel_that_was_only_projected_stands_for_every_plane(screen) -> None:
    planes = [f"TimePoint_1/ZStep_{z}/P1_A01_s1_w1.TIF" for z in (1, 2)]
    made = screen(*planes, "TimePoint_1/ZStep_0/P1_A01_s1_w2.TIF", z=2)
    assert paths(made) == [[f"run/P1/{planes[1]}", "run/P1/TimePoint_1/ZStep_0/P1_A01_s1_w2.TIF"]]


def test_other_time_points_are_left_out(screen) -> None:
    files = [file for t in (1, 2) for file in images(f"TimePoint_{t}/P1_{{well}}_s1_w{{channel}}.TIF")]
    made = screen(*files, timepoint=2)
    assert paths(made)[0][0] == "run/P1/TimePoint_2/P1_A01_s1_w1.TIF"
    with pytest.raises(DataError, match=r"screen\.timepoint: .* has the time points 1, 2"):
        index_fields(made | {"timepoint": 3}, "P1")


def test_two_folders_of_one_plate_are_named(screen, tmp_path: Path) -> None:
    made = screen(*images("P1_{well}_s1_w{channel}.TIF"))
    write_image(tmp_path / "again/P1/P1_A01_s1_w1.TIF", 0)
    with pytest.raises(ConfigError, match=r"are both of the plate P1; keep one"):
        plates(made)


def test_settings_that_make_no_sense_are_named(screen) -> None:
    made = screen(*images("P1_{well}_s1_w{channel}.TIF"), settings='"XWells", many\n')
    with pytest.raises(DataError, match=r"P1\.HTD lacks settings"):
        index_fields(made, "P1")


def test_a_real_settings_file(test_data, tmp_path: Path) -> None:
    (tmp_path / "9987.HTD").write_bytes((test_data / "headers/imagexpress_9987.HTD").read_bytes())
    settings = read_settings(tmp_path)
    assert settings is not None
    assert settings.wells == ["B02", "B03"]
    assert settings.sites == 2
    assert settings.wavelengths == {"1": "DAPI", "2": "FITC", "3": "Texas Red", "4": "Cy5"}
