from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from upath import UPath

from cellmae.errors import ConfigError, DataError
from cellmae.screen import index_fields, index_wells, plates, summarise
from cellmae.screen.harmony import read_index
from cellmae.screen.layouts import open_layout

from .end_to_end import stored_fields, write_image

Screen = dict[str, Any]
FOLDER = "day 1/P1__2024-05-02T16_02_51-Measurement 1/Images"
V5 = "http://www.perkinelmer.com/PEHH/HarmonyV5"
V6 = "http://www.perkinelmer.com/PEHH/HarmonyV6"
V7 = "43B2A954-E3C3-47E1-B392-6635266B0DD3/HarmonyV7"
NAMES = {1: "HOECHST 33342", 2: "Alexa 488"}
Place = tuple[int, int, int, int, int, int]  # row, column, field, plane, channel, time point
PLACES: list[Place] = [(1, column, 1, 1, channel, 1) for column in (1, 2) for channel in (1, 2)]


def image(row: int, column: int, field: int, plane: int, channel: int, time: int) -> str:
    return f"r{row:02d}c{column:02d}f{field:02d}p{plane:02d}-ch{channel}sk{time}fk1fl1.tiff"


def index(places: list[Place], namespace: str = V5, *, url: Callable[..., str] = image) -> str:
    """An index as Harmony writes it: with the names of channels at each image up to version 5, later in a map."""
    first = 0 if namespace == V5 else 1  # the number of the first time point
    entries, images, references = [], [], []
    for place in places:
        row, column, field, plane, channel, time = place
        key = f"{row:02d}{column:02d}K{time}F{field}P{plane}R{channel}"
        references.append(
            f'<Well><id>{row:02d}{column:02d}</id><Row>{row}</Row><Col>{column}</Col><Image id="{key}"/></Well>'
        )
        name = f"<ChannelName>{NAMES[channel]}</ChannelName>" if namespace == V5 else ""
        images.append(
            f'<Image Version="1"><id>{key}</id><State>Ok</State><URL>{url(*place)}</URL><Row>{row}</Row>'
            f"<Col>{column}</Col><FieldID>{field}</FieldID><PlaneID>{plane}</PlaneID>"
            f"<TimepointID>{time - 1 + first}</TimepointID>"
            f'<ChannelID>{channel}</ChannelID><FlimID>1</FlimID>{name}<PositionX Unit="m">0</PositionX></Image>'
        )
    for channel, name in NAMES.items():
        told = "" if namespace == V5 else f"<ChannelName>{name}</ChannelName>"
        entries.append(f'<Entry ChannelID="{channel}"><FlatfieldProfile>{{Row: 3}}</FlatfieldProfile>{told}</Entry>')
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<EvaluationInputData Version="1" xmlns="{namespace}"><Plates><Plate><PlateID>P1</PlateID></Plate></Plates>'
        f"<Wells>{''.join(references)}</Wells><Maps><Map>{''.join(entries)}</Map></Maps>"
        f"<Images>{''.join(images)}</Images></EvaluationInputData>"
    )


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def phenix(tmp_path: Path) -> Callable[..., Screen]:
    """Return a function that makes a screen: the images of measurements, texts by path, and a plate map."""

    def make(
        places: list[Place] = PLACES,
        texts: dict[str, str] | None = None,
        *,
        folders: tuple[str, ...] = (FOLDER,),
        **changes: Any,
    ) -> Screen:
        for folder in folders:
            for place in places:
                write(tmp_path / "root" / folder / image(*place), "pixels")
        for path, text in (texts or {}).items():
            write(tmp_path / "root" / path, text)
        write(tmp_path / "root/map.csv", "well,perturbation\nA01,DMSO\nA02,PLK1\n")
        return {
            "layout": "phenix",
            "root": str(tmp_path / "root"),
            "channels": ["DNA", "ER"],
            "batch": "plate",
            "controls": ["DMSO"],
            "plate_map": "map.csv",
            **changes,
        }

    return make


def paths(screen: Screen, slug: str = "P1") -> list[list[Any]]:
    return index_fields(screen, slug)[["well", "site", "path_DNA", "path_ER"]].to_numpy().tolist()


EXPECTED = [
    [f"A0{column}", 1, *(f"{FOLDER}/{image(1, column, 1, 1, channel, 1)}" for channel in (1, 2))] for column in (1, 2)
]


@pytest.mark.parametrize("name", [None, "Index.idx.xml", "Index.xml"])
@pytest.mark.parametrize("namespace", [V5, V6, V7])
def test_measurement(phenix, name, namespace):
    screen = phenix(texts={f"{FOLDER}/{name}": index(PLACES, namespace)} if name else {})
    assert list(plates(screen)) == ["P1"]
    assert paths(screen) == EXPECTED
    assert index_wells(screen, "P1")[["well", "perturbation", "role"]].to_numpy().tolist() == [
        ["A01", "DMSO", "negative_control"],
        ["A02", "PLK1", "treatment"],
    ]


@pytest.mark.parametrize(
    ("folder", "plate"),
    [
        ("P 1__2024-Measurement 1/Images", "P 1"),
        ("a/b/P1__x/Images", "P1"),
        ("P1", "P1"),
        ("P1__x__y", "P1"),
        ("a/b/P1/Images", "P1"),
        ("Images", "root"),
        (".", "root"),
    ],
)
@pytest.mark.parametrize("indexed", [True, False])
def test_where_measurements_lie(phenix, folder, plate, indexed):
    screen = phenix(texts={f"{folder}/Index.xml": index(PLACES)} if indexed else {}, folders=(folder,))
    assert [known.name for known in plates(screen).values()] == [plate]
    (slug,) = plates(screen)
    first = image(*PLACES[0])
    assert paths(screen, slug)[0][2] == (first if folder == "." else f"{folder}/{first}")


def test_measurements_that_lie_too_deep_are_not_found(phenix):
    with pytest.raises(ConfigError, match=r"screen.root: no folder at most three levels below .* holds Index.idx.xml"):
        plates(phenix(folders=("a/b/c/P1__x/Images",)))


def test_a_measurement_may_lie_in_an_archive(phenix, tmp_path):
    screen = phenix(texts={f"{FOLDER}/Index.xml": index(PLACES)})
    (tmp_path / "root/day 1").rename(tmp_path / "archive")
    (tmp_path / "root/day 1").symlink_to(tmp_path / "archive")
    assert paths(screen) == EXPECTED


def test_several_measurements_of_a_plate_are_named(phenix):
    with pytest.raises(
        ConfigError,
        match=r"several measurements of the plate P1 \(P1__a-Measurement 1/Images, P1__b-Measurement 2/Images\)",
    ):
        plates(phenix(folders=("P1__a-Measurement 1/Images", "P1__b-Measurement 2/Images")))


def test_new_plates_are_noticed(phenix, tmp_path):
    screen, cache = phenix(), tmp_path / "cache.json"
    assert list(plates(screen, cache=cache)) == ["P1"]
    phenix(folders=("day 1/P2__x/Images",))
    assert list(plates(screen, cache=cache)) == ["P1", "P2"]


@pytest.mark.parametrize("namespace", [V5, V7])
@pytest.mark.parametrize("identifiers", [[2, 1], ["2", "1"], ["Alexa 488", "HOECHST 33342"], ["Alexa 488", 1]])
def test_channels_by_number_or_name(phenix, namespace, identifiers):
    screen = phenix(texts={f"{FOLDER}/Index.xml": index(PLACES, namespace)}, channel_ids=identifiers)
    assert paths(screen) == [[well, site, second, first] for well, site, first, second in EXPECTED]


def test_one_of_several_channels(phenix):
    screen = phenix(texts={f"{FOLDER}/Index.xml": index(PLACES)}, channels=["ER"], channel_ids=["Alexa 488"])
    assert index_fields(screen, "P1")["path_ER"].tolist() == [field[3] for field in EXPECTED]


@pytest.mark.parametrize("identifiers", [["DAPI", 2], [1, 3], [1, "HOECHST 33342"]])
def test_unknown_channels_name_those_there_are(phenix, identifiers):
    screen = phenix(texts={f"{FOLDER}/Index.xml": index(PLACES)}, channel_ids=identifiers)
    with pytest.raises(DataError, match=r"has no channel .* its channels are 1 HOECHST 33342, 2 Alexa 488: correct"):
        index_fields(screen, "P1")


def test_names_of_channels_without_an_index(phenix):
    with pytest.raises(DataError, match=r"have the channels 1, 2; screen.channel_ids expects DAPI, FITC"):
        index_fields(phenix(channel_ids=["DAPI", "FITC"]), "P1")


@pytest.mark.parametrize("namespace", [None, V5, V7])
def test_time_points(phenix, namespace):
    places = [(1, 1, 1, 1, channel, time) for channel in (1, 2) for time in (1, 2)]
    texts = {f"{FOLDER}/Index.idx.xml": index(places, namespace)} if namespace else {}
    for time in (1, 2):
        screen = phenix(places, texts, timepoint=time)
        assert paths(screen) == [["A01", 1, *(f"{FOLDER}/{image(1, 1, 1, 1, channel, time)}" for channel in (1, 2))]]
    with pytest.raises(
        ConfigError, match=r"screen.timepoint: .*(has 2 time points, not 3|no image of the time point 3)"
    ):
        index_fields(phenix(places, texts, timepoint=3), "P1")


@pytest.mark.parametrize("indexed", [True, False])
def test_planes(phenix, indexed):
    places = [(1, 1, 1, plane, channel, 1) for plane in (1, 2, 3) for channel in (1, 2)]
    texts = {f"{FOLDER}/Index.xml": index(places)} if indexed else {}
    expected = [[f"{FOLDER}/{image(1, 1, 1, plane, channel, 1)}" for plane in (1, 2, 3)] for channel in (1, 2)]
    assert paths(phenix(places, texts)) == [["A01", 1, *expected]]
    assert paths(phenix(places, texts, z=2)) == [["A01", 1, expected[0][1], expected[1][1]]]


def test_images_that_are_gone_have_no_path(phenix, tmp_path):
    screen = phenix(texts={f"{FOLDER}/Index.xml": index(PLACES)})
    (tmp_path / "root" / EXPECTED[0][3]).unlink()
    assert paths(screen) == [[*EXPECTED[0][:3], None], EXPECTED[1]]
    fields = index_fields(screen, "P1")
    assert summarise(fields, index_wells(screen, "P1")).missing_files == {"DNA": 0, "ER": 1}
    assert fields["size"].tolist() == [6, 12]


def test_a_stack_that_lacks_a_plane_has_no_path(phenix, tmp_path):
    places = [(1, column, 1, plane, channel, 1) for column in (1, 2) for plane in (1, 2) for channel in (1, 2)]
    screen = phenix(places, {f"{FOLDER}/Index.xml": index(places)})
    (tmp_path / "root" / FOLDER / image(1, 2, 1, 2, 1, 1)).unlink()
    fields = index_fields(screen, "P1")
    assert fields["path_DNA"].isna().tolist() == [False, True]
    assert fields["path_ER"].isna().tolist() == [False, False]


def test_images_that_were_not_recorded_have_no_path(phenix):
    def url(*place: int) -> str:
        return "" if place == PLACES[0] else image(*place)

    assert paths(phenix(texts={f"{FOLDER}/Index.xml": index(PLACES, url=url)}))[0] == ["A01", 1, None, EXPECTED[0][3]]


def test_no_image_is_there(phenix):
    screen = phenix([], {f"{FOLDER}/Index.xml": index(PLACES)})
    with pytest.raises(DataError, match=r"none of the 4 images is there, the first is r01c01f01p01-ch1sk1fk1fl1.tiff"):
        index_fields(screen, "P1")


def test_images_that_the_index_does_not_name_are_counted(phenix, caplog):
    screen = phenix(texts={f"{FOLDER}/Index.xml": index(PLACES[:3])})
    assert paths(screen) == [EXPECTED[0], [*EXPECTED[1][:3], None]]
    assert f"does not name 1 images that are beside it: {image(*PLACES[3])}" in caplog.text


@pytest.mark.parametrize(
    "name", ["../secret.tiff", "/etc/passwd", r"C:\a.tiff", "http://host/a.tiff", "file:///etc/passwd"]
)
def test_an_index_that_leads_elsewhere_is_refused(phenix, name):
    screen = phenix(texts={f"{FOLDER}/Index.xml": index(PLACES, url=lambda *_: name)})
    with pytest.raises(DataError, match="is no file beside it"):
        index_fields(screen, "P1")


def test_a_link_that_an_index_names_may_not_lead_elsewhere(phenix, tmp_path):
    screen = phenix(texts={f"{FOLDER}/Index.xml": index(PLACES), "secret": "secret"})
    link = tmp_path / "root" / EXPECTED[0][2]
    link.unlink()
    link.symlink_to(tmp_path / "root/secret")
    with pytest.raises(DataError, match="is no file beside it"):
        index_fields(screen, "P1")


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]>'
GOOD = index(PLACES)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD.replace("<EvaluationInputData", BOMB + "<EvaluationInputData"), "DTDForbidden"),
        (
            GOOD.replace("<EvaluationInputData", '<!DOCTYPE a SYSTEM "file:///etc/passwd"><EvaluationInputData'),
            "DTDForbidden",
        ),
        (GOOD[:-200], "is no index of Harmony"),
        ("", "no element found"),
        ("<OME/>", "its root element is OME, expected EvaluationInputData"),
        (index([]), "names no image"),
        (
            GOOD.replace("<Row>1</Row>", "<Row>A</Row>"),
            "Row of the image r01c01f01p01-ch1sk1fk1fl1.tiff is A, expected is a",
        ),
        (GOOD.replace("<FieldID>1</FieldID>", ""), "FieldID of the image .* is None"),
        (GOOD.replace("<Col>2</Col>", "<Col>99</Col>"), "these are no names of wells: 'r1c99'"),
    ],
)
def test_damaged_indices_are_named(phenix, text, reason):
    with pytest.raises(DataError, match=reason):
        index_fields(phenix(texts={f"{FOLDER}/Index.xml": text}), "P1")


def test_a_large_index_takes_no_more_memory_than_its_images(tmp_path):
    import tracemalloc

    padding = "<OrientationMatrix>" + "0" * 2000 + "</OrientationMatrix></Image>"
    places = [(1, column, field, 1, 1, 1) for column in range(1, 25) for field in range(1, 201)]
    (tmp_path / "Index.xml").write_text(index(places).replace("</Image>", padding))
    tracemalloc.start()
    found = read_index(tmp_path / "Index.xml")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.images) == len(places)
    assert peak < (tmp_path / "Index.xml").stat().st_size / 2


@pytest.mark.parametrize("indexed", [True, False])
def test_object_storage(phenix, tmp_path, indexed):
    screen = phenix(texts={f"{FOLDER}/Index.xml": index(PLACES)} if indexed else {})
    local = tmp_path / "root"
    (local / EXPECTED[0][3]).unlink()
    bucket = UPath("memory://phenix/root")
    for path in local.rglob("*"):
        if path.is_file():
            copy = bucket / path.relative_to(local).as_posix()
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    try:
        assert paths({**screen, "root": str(bucket)}) == [[*EXPECTED[0][:3], None], EXPECTED[1]]
        assert open_layout({**screen, "root": str(bucket)}).imaged_plates().plates["plate_name"].tolist() == ["P1"]
    finally:
        bucket.fs.rm("/phenix", recursive=True)


@pytest.mark.parametrize("indexed", [True, False])
def test_pixels_from_the_measurement_to_the_store(phenix, tmp_path, indexed):
    places = [
        (1, column, field, plane, channel, 1)
        for column in (1, 2)
        for field in (1, 2)
        for plane in (1, 2)
        for channel in (1, 2)
    ]
    screen = phenix([], {f"{FOLDER}/Index.xml": index(places)} if indexed else {}, channel_ids=[2, 1])
    pixels = {place: write_image(tmp_path / "root" / FOLDER / image(*place), seed) for seed, place in enumerate(places)}
    stored = stored_fields(screen, tmp_path / "tiles")
    assert stored.keys() == {("P1", f"A0{column}", field) for column in (1, 2) for field in (1, 2)}
    for (_, well, field), found in stored.items():
        planes = [[pixels[1, int(well[1:]), field, plane, channel, 1] for plane in (1, 2)] for channel in (2, 1)]
        np.testing.assert_array_equal(found, np.max(planes, axis=1))
