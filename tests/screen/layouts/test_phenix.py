import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellmae.errors import ConfigError, DataError
from cellmae.screen import index_fields, index_wells, plates
from cellmae.screen.layouts.phenix import read_index

from .end_to_end import stored_fields, write_image

Screen = dict[str, Any]
MEASUREMENT = "day 1/BR1__2024-05-02T16_02_51-Measurement 1/Images"
V5 = "http://www.perkinelmer.com/PEHH/HarmonyV5"
V6 = "http://www.perkinelmer.com/PEHH/HarmonyV6"


def name(column: int, channel: int, z: int = 1, time: int = 1) -> str:
    return f"r01c{column:02d}f01p{z:02d}-ch{channel}sk{time}fk1fl1.tiff"


def entry(file: str, column: int, channel: int, z: int = 1, time: int = 0, *, called: str | None = None) -> str:
    channel_name = f"<ChannelName>{called}</ChannelName>" if called else ""
    return (
        f'<Image Version="1"><id>x</id><State>Ok</State><URL>{file}</URL><Row>1</Row><Col>{column}</Col>'
        f"<FieldID>1</FieldID><PlaneID>{z}</PlaneID><TimepointID>{time}</TimepointID><ChannelID>{channel}</ChannelID>"
        f"{channel_name}</Image>"
    )


def index(*images: str, namespace: str = V5, maps: str = "") -> str:
    well = '<Wells><Well><id>0101</id><Row>1</Row><Col>1</Col><Image id="x"/></Well></Wells>'
    return (
        f'<?xml version="1.0" encoding="utf-8"?><EvaluationInputData Version="1" xmlns="{namespace}">'
        f"{well}{maps}<Images>{''.join(images)}</Images></EvaluationInputData>"
    )


@pytest.fixture
def screen(tmp_path: Path) -> Callable[..., Screen]:
    """Return a function that makes a screen of a plate with two wells; ``index`` goes beside its images."""

    def make(index: str | None = None, *, file: str = "Index.idx.xml", planes: int = 1, **changes: Any) -> Screen:
        folder = tmp_path / MEASUREMENT
        for seed, (column, channel) in enumerate((column, channel) for column in (1, 2) for channel in (1, 4)):
            for z in range(1, planes + 1):
                write_image(folder / name(column, channel, z), 10 * seed + z)
        if index is not None:
            (folder / file).write_text(index)
        (tmp_path / "map.csv").write_text("plate,well,compound\nBR1,A1,DMSO\nBR1,A2,taxol\n")
        return {
            "layout": "phenix", "root": str(tmp_path), "channels": ["dna", "actin"], "channel_ids": [1, 4],
            "batch": "plate", "controls": ["DMSO"], "plate_map": "map.csv",
            "columns": {"plate": "plate", "perturbation": "compound"}, **changes,
        }  # fmt: skip

    return make


def paths(screen: Screen) -> list[list[str | None]]:
    return index_fields(screen, "BR1")[["path_dna", "path_actin"]].to_numpy().tolist()


EXPECTED = [[f"{MEASUREMENT}/{name(column, channel)}" for channel in (1, 4)] for column in (1, 2)]


def test_a_folder_without_an_index(screen) -> None:
    assert list(plates(screen())) == ["BR1"]
    assert paths(screen()) == EXPECTED
    assert index_wells(screen(), "BR1")["role"].tolist() == ["negative_control", "treatment"]


def test_stored_pixels_are_those_of_the_files(screen, tmp_path: Path) -> None:
    stored = stored_fields(screen(), tmp_path / "out")
    assert list(stored) == [("BR1", "A01", 1), ("BR1", "A02", 1)]
    pixels = [np.random.default_rng(seed).integers(0, 256, (32, 32), dtype=np.uint8) for seed in (21, 31)]
    assert np.array_equal(stored["BR1", "A02", 1], pixels)


@pytest.mark.parametrize(("file", "namespace"), [("Index.idx.xml", V5), ("Index.xml", V6)])
def test_channels_by_their_names_in_the_index(screen, file, namespace) -> None:
    images = [(entry(name(c, n), c, n), n) for c in (1, 2) for n in (1, 4)]
    called = {1: "DNA &amp; co", 4: "Actin"}
    if namespace == V5:
        text = index(
            *(image.replace("</Image>", f"<ChannelName>{called[n]}</ChannelName></Image>") for image, n in images)
        )
    else:
        entries = "".join(
            f'<Entry ChannelID="{n}"><ChannelName>{text}</ChannelName></Entry>' for n, text in called.items()
        )
        text = index(*(image for image, _ in images), namespace=namespace, maps=f"<Maps><Map>{entries}</Map></Maps>")
    assert paths(screen(text, file=file, channel_ids=["DNA & co", "Actin"])) == EXPECTED
    assert paths(screen(text, file=file)) == EXPECTED


def test_what_the_index_names_and_is_gone_is_missing(screen, caplog) -> None:
    text = index(
        *(entry(name(c, n), c, n) for c in (1, 2) for n in (1, 4)), entry("r01c03f01p01-ch1sk1fk1fl1.tiff", 3, 1)
    )
    fields = index_fields(screen(text), "BR1")
    assert fields["well"].tolist() == ["A01", "A02", "A03"]
    assert fields["path_dna"].isna().tolist() == [False, False, True]


def test_what_the_index_does_not_name_is_left_out_and_counted(screen, caplog) -> None:
    text = index(entry(name(1, 1), 1, 1), entry(name(1, 4), 1, 4))
    with caplog.at_level(logging.WARNING):
        assert paths(screen(text)) == EXPECTED[:1]
    assert "does not name 2 images beside it" in caplog.text


@pytest.mark.parametrize("indexed", [False, True])
def test_planes_of_a_stack(screen, indexed, tmp_path: Path) -> None:
    images = [entry(name(c, n, z), c, n, z) for c in (1, 2) for n in (1, 4) for z in (1, 2)]
    text = index(*images) if indexed else None
    assert paths(screen(text, planes=2, z=2))[0][0] == f"{MEASUREMENT}/{name(1, 1, 2)}"
    fields = index_fields(screen(text, planes=2), "BR1")
    assert list(fields["path_dna"][0]) == [f"{MEASUREMENT}/{name(1, 1, z)}" for z in (1, 2)]
    stored = stored_fields(screen(text, planes=2), tmp_path / "out")
    planes = [np.random.default_rng(seed).integers(0, 256, (32, 32), dtype=np.uint8) for seed in (1, 2)]
    assert np.array_equal(stored["BR1", "A01", 1][0], np.maximum(*planes))
    with pytest.raises(DataError, match=r"screen\.z: no image is plane 3; there are the planes 1, 2"):
        index_fields(screen(text, planes=2, z=3), "BR1")


def test_other_time_points_are_left_out(screen) -> None:
    images = [entry(name(c, n, time=t + 1), c, n, time=t) for c in (1, 2) for n in (1, 4) for t in (0, 1)]
    assert paths(screen(index(*images))) == EXPECTED
    with pytest.raises(ConfigError, match=r"screen\.timepoint: .* has no time point 3"):
        index_fields(screen(index(*images), timepoint=3), "BR1")


def test_two_measurements_of_a_plate_are_named(screen, tmp_path: Path) -> None:
    made = screen()
    write_image(tmp_path / "BR1__2024-05-03T10_00_00-Measurement 2/Images" / name(1, 1), 0)
    with pytest.raises(ConfigError, match=r"Measurement 2.* are both of the plate BR1; keep one"):
        plates(made)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<a><b></a>", "cannot be read as an index"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "cannot be read as an index"),
        (index(), "names no images beside it"),
        (index(entry("../elsewhere.tiff", 1, 1)), "names no images beside it"),
        (index(entry(name(1, 1), 1, 1).replace("<Row>1</Row>", "")), "lacks well, field, plane or channel"),
        (index(entry(name(1, 1), 1, 1).replace("<Row>1</Row>", "<Row>one</Row>")), "holds numbers that are none"),
    ],
)
def test_an_index_that_cannot_be_used_is_named(screen, text, reason) -> None:
    with pytest.raises(DataError, match=rf"Index\.idx\.xml.*{reason}"):
        index_fields(screen(text), "BR1")


def test_channels_that_are_not_there_are_listed(screen) -> None:
    text = index(entry(name(1, 1), 1, 1, called="DNA"))
    with pytest.raises(DataError, match=r"has the channels 1 \(DNA\); screen\.channel_ids expects 7, 8"):
        index_fields(screen(text, channel_ids=[7, 8]), "BR1")


def test_a_root_without_measurements_is_named(tmp_path: Path, screen) -> None:
    made = screen()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"screen\.root: no folder at most 4 levels below .*empty holds Index"):
        plates(made | {"root": str(tmp_path / "empty"), "plate_map": str(tmp_path / "map.csv")})


def test_a_large_index_is_read_in_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "Index.idx.xml"
    path.write_text(index(*(entry(name(1, 1, z), 1, 1, z) for z in range(1, 5001))))
    tracemalloc.start()
    assert len(read_index(path)) == 5000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000
