import pandas as pd
import pytest

from cellmae.errors import ConfigError, DataError
from cellmae.screen import index_fields, index_wells, plates, summarise, survey
from cellmae.screen.plate import Plate
from cellmae.screen.selection import excluded, taken

SLUGS = ["gene-001_Plate1", "gene-001_Plate2", "gene-002_Plate1", "gene-002_Plate2"]
KNOWN = {slug: Plate(slug, slug[9:], slug[:8], "", "") for slug in SLUGS} | {"P3": Plate("P3", "Plate 3", "", "", "")}
TABLE = pd.DataFrame({"row": [1, 1, 2, 2], "column": [1, 1, 2, 28], "site": [1, 2, 1, 2]})


@pytest.mark.parametrize(
    ("screen", "expected"),
    [
        ({}, list(KNOWN)),
        ({"plates": [], "exclude": {}}, list(KNOWN)),
        ({"plates": ["gene-002_Plate1", "gene-001_Plate1"]}, ["gene-001_Plate1", "gene-002_Plate1"]),
        ({"plates": ["Plate 3"]}, ["P3"]),
        ({"exclude": {"plates": [*SLUGS[1:], "Plate 3"]}}, SLUGS[:1]),
        ({"plates": SLUGS[:2], "exclude": {"plates": SLUGS[1:3]}}, SLUGS[:1]),
    ],
)
def test_plates_that_are_taken(screen, expected):
    assert list(taken(KNOWN, screen)) == expected


@pytest.mark.parametrize(
    ("screen", "message"),
    [
        ({"plates": ["P4"]}, "screen.plates: found 'P4', expected the name .*; the plates are gene-001_Plate1, gene"),
        (
            {"plates": ["Plate1"]},
            "screen.plates: found 'Plate1', .* several plates have it: gene-001_Plate1, gene-002_",
        ),
        ({"exclude": {"plates": ["P4"]}}, "screen.exclude.plates: found 'P4'"),
        ({"plates": SLUGS[:2], "exclude": {"plates": SLUGS}}, "screen.exclude.plates: no plate is left of "),
    ],
)
def test_plates_that_cannot_be_meant(screen, message):
    with pytest.raises(ConfigError, match=message):
        taken(KNOWN, screen)


@pytest.mark.parametrize(
    ("wells", "expected"),
    [
        ([], [False, False, False, False]),
        (["A1"], [True, True, False, False]),
        (["r02c02", "P/b28"], [False, False, True, True]),
        (["Q/A01", "Q/B02"], [False, False, False, False]),
    ],
)
def test_wells_that_are_left_out(wells, expected):
    found = excluded("P", {"exclude": {"wells": wells}})
    assert found.wells_of(TABLE).tolist() == expected
    assert found.sites_of(TABLE).tolist() == expected


@pytest.mark.parametrize(
    ("sites", "expected"),
    [
        ([2], [False, True, False, True]),
        (["2", "A01/1"], [True, True, False, True]),
        (["P/A1/2"], [False, True, False, False]),
        (["Q/A1/2", "A01/7"], [False, False, False, False]),
    ],
)
def test_sites_that_are_left_out(sites, expected):
    found = excluded("P", {"exclude": {"sites": sites}})
    assert found.sites_of(TABLE).tolist() == expected
    assert not found.wells_of(TABLE).any()


@pytest.mark.parametrize("entry", ["A", "A01/1", "a/b/A01", "P/", 1])
def test_entries_that_are_no_wells(entry):
    with pytest.raises(ConfigError, match=r"screen.exclude.wells: found .*, expected a well, such as A01 or PLATE/A01"):
        excluded("P", {"exclude": {"wells": [entry]}})


@pytest.mark.parametrize("entry", ["A01", "one", "Z99/1", "P/A01/1/1", "-1", "A01/1.5", "P//1"])
def test_entries_that_are_no_sites(entry):
    with pytest.raises(ConfigError, match=r"screen.exclude.sites: found .*, expected such as 3, A01/3 or PLATE/A01/3"):
        excluded("P", {"exclude": {"sites": [entry]}})


def test_the_survey_takes_some_plates_and_says_which_not(rxrx3):
    screen = rxrx3 | {"plates": SLUGS[:3], "exclude": {"plates": ["gene-001_Plate2"]}}
    found = survey(screen)
    assert list(found.plates) == ["gene-001_Plate1", "gene-002_Plate1"]
    assert found.not_taken == ["gene-001_Plate2", "gene-002_Plate2"]
    assert found.plates == {slug: plates(rxrx3)[slug] for slug in found.plates}
    with pytest.raises(
        DataError, match=r"the screen has no plate 'gene-001_Plate2'; its plates are gene-001_Plate1, ge"
    ):
        index_fields(screen, "gene-001_Plate2")


def test_plates_without_images_can_be_excluded_by_no_name(rxrx3, tmp_path):
    for image in (tmp_path / "images/gene-001/Plate2").iterdir():
        image.unlink()
    with pytest.raises(ConfigError, match=r"screen.exclude.plates: found 'gene-001_Plate2'"):
        survey(rxrx3 | {"exclude": {"plates": ["gene-001_Plate2"]}})


def test_the_cache_keeps_what_was_not_taken(rxrx3, tmp_path):
    cache = tmp_path / "results/plates.json"
    screen = rxrx3 | {"plates": SLUGS[:1]}
    assert survey(screen, cache=cache) == survey(screen, cache=cache)
    assert survey(screen, cache=cache).not_taken == SLUGS[1:]
    assert survey(rxrx3, cache=cache).not_taken == []


def test_the_tables_of_a_plate_lack_what_is_left_out(rxrx3):
    screen = rxrx3 | {"exclude": {"wells": ["gene-001_Plate1/A02", "B02"], "sites": ["B01/1"]}}
    first, second = SLUGS[:2]
    assert index_fields(screen, first)["well"].tolist() == ["A01"]
    assert index_fields(screen, second)["well"].tolist() == ["A01", "A02"]
    assert index_wells(screen, first)["well"].tolist() == ["A01", "B01"]
    assert index_wells(screen, second)["well"].tolist() == ["A01", "A02", "B01"]


def test_excluded_wells_change_the_digest_of_their_plate(rxrx3):
    before, after = plates(rxrx3), plates(rxrx3 | {"exclude": {"wells": [f"{SLUGS[1]}/A02"]}})
    assert [slug for slug in SLUGS if before[slug] != after[slug]] == [SLUGS[1]]
    assert plates(rxrx3 | {"exclude": {"sites": [1]}}) == before


def test_without_its_only_controls_a_screen_is_refused(rxrx3):
    with pytest.raises(ConfigError, match=r"screen.controls: no well of the plates at hand is a negative control"):
        plates(rxrx3 | {"exclude": {"wells": ["A01"]}})


def test_excluded_wells_do_not_count_as_missing(rxrx3, tmp_path):
    for channel in (1, 2):
        (tmp_path / f"images/gene-001/Plate1/A02_s1_w{channel}.png").unlink()
    screen = rxrx3 | {"plates": SLUGS[:2], "exclude": {"wells": [f"{SLUGS[0]}/A02"]}}
    found = survey(screen)
    fields, wells = (pd.concat([index(screen, slug) for slug in found.plates]) for index in (index_fields, index_wells))
    summary = summarise(fields, wells, plates_not_taken=found.not_taken)
    assert (summary.plates, summary.wells, summary.wells_without_images) == (2, 7, 0)
    assert summary.notes() == ["left out by screen.plates or screen.exclude: gene-002_Plate1, gene-002_Plate2"]
    assert summary.notes()[0] in summary.as_text()
