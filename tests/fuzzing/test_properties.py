"""Whatever people write into configurations, tables and names: an answer, or an error for people."""

import contextlib
import json
import string
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cellmae.config import validate
from cellmae.errors import CellmaeError, ConfigError
from cellmae.maps.relationships import read_relationships
from cellmae.screen import index_fields, index_wells, plates
from cellmae.screen.patterns import FilePattern
from cellmae.screen.plate import slugs
from cellmae.screen.wells import COLUMNS, ROWS, parse_well, well_name

pytestmark = pytest.mark.slow

settings.register_profile("cellmae", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("cellmae")

SCHEMA = Path(__file__).resolve().parents[2] / "workflow" / "schemas" / "config.schema.yaml"
CONFIG = {
    "results": "results",
    "screen": {"layout": "rxrx3", "root": "plates", "channels": ["a", "b"], "controls": ["DMSO"]},
    "tiles": {"size": 32},
    "models": {"mae": {"family": "mae", "patch": 8}},
    "alignments": {"tvn": {"method": "tvn"}},
    "maps": {},
}
NAMES = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    [
        "; rm -rf x",
        "$(touch y)",
        "<script>alert(1)</script>",
        "../../etc/passwd",
        "a\nb",
        '"',
        "'",
        "NA",
        "",
        " ",
        "A01",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
KNOWN = {
    section: sorted(rules.get("properties", {})) or ["mae"]
    for section, rules in yaml.safe_load(SCHEMA.read_text())["properties"].items()
}


@given(st.data(), VALUES)
def test_a_configuration_is_completed_or_refused(data, value):
    config = json.loads(json.dumps(CONFIG))
    section = data.draw(st.sampled_from(sorted(KNOWN)) | NAMES)
    if data.draw(st.booleans()):
        config[section] = value
    else:
        key = data.draw(st.sampled_from(KNOWN.get(section, ["key"])) | NAMES)
        before = config.get(section)
        config[section] = {**(before if isinstance(before, dict) else {}), key: value}
    with contextlib.suppress(ConfigError):
        completed = validate(config, SCHEMA)
        assert validate(completed, SCHEMA) == completed


@given(st.integers(1, ROWS), st.integers(1, COLUMNS), st.sampled_from(["{}", " {} ", "{}\n"]))
def test_a_well_is_read_as_it_is_written(row, column, form):
    assert parse_well(form.format(well_name(row, column))) == (row, column)


@given(NAMES)
def test_no_text_breaks_the_names_of_wells(name):
    position = parse_well(name)
    assert position is None or parse_well(well_name(*position)) == position


@given(st.lists(st.tuples(NAMES, NAMES), unique=True, max_size=6))
@example([("", "; rm -rf x"), ("", "$(touch y)"), ("a", "b"), ("A", "B")])
def test_slugs_are_safe_and_tell_plates_apart(names):
    made = slugs(names)
    assert all(slug and set(slug) <= set(string.ascii_letters + string.digits + "_.-") for slug in made)
    assert not any(slug.startswith(("-", ".")) for slug in made)
    assert len({slug.lower() for slug in made}) == len(names)


PIECES = [*"ab/{}*.\\[]()?+", "{well}", "{plate}", "{site}", "{channel}"]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_a_pattern_finds_nothing_or_is_refused(tmp_path, text):
    with contextlib.suppress(CellmaeError):
        FilePattern(text, ["1"]).plates(tmp_path)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Images of two plates, named as no shell likes them."""
    root = tmp_path_factory.mktemp("screen")
    for plate in ("; rm -rf x", "$(touch y)"):
        for well in ("A01", "A02"):
            (root / plate).mkdir(exist_ok=True)
            (root / plate / f"{well}_1.tif").touch()
    return root


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "plate": st.sampled_from(["; rm -rf x", "$(touch y)"]) | NAMES,
                "well": NAMES | st.sampled_from(["A01", "A02"]),
            },
            optional={"gene": NAMES, "extra": NAMES},
        ),
        max_size=5,
    )
)
@example([{"plate": plate, "well": "A01", "gene": "DMSO"} for plate in ("; rm -rf x", "$(touch y)")])
def test_a_plate_map_is_read_or_refused(images, rows):
    table = pd.DataFrame(rows, columns=["plate", "well", "gene", "extra"])
    with contextlib.suppress(UnicodeEncodeError):
        table.to_csv(images / "map.csv", index=False)
    screen = {
        "layout": "pattern", "root": str(images), "pattern": "{plate}/{well}_{channel}.tif", "channels": ["a"],
        "channel_ids": ["1"], "plate_map": "map.csv", "columns": {"perturbation": "gene"}, "batch": "plate",
        "controls": ["DMSO"],
    }  # fmt: skip
    with contextlib.suppress(CellmaeError):
        found = plates(screen)
        assert {plate.name for plate in found.values()} <= {"; rm -rf x", "$(touch y)"}


@settings(max_examples=50)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"Plate": NAMES, "Well": NAMES | st.sampled_from(["A01", "A02"]), "Path_a": NAMES},
            optional={"Site": NAMES | st.sampled_from(["1", "2"]), "Gene": NAMES},
        ),
        max_size=5,
    )
)
@example([{"Plate": "; rm -rf x", "Well": "A01", "Path_a": "../../etc/passwd", "Site": "1", "Gene": "$(touch y)"}])
@example([{"Plate": "$(touch y)", "Well": "A02", "Path_a": "$(touch y)/A02_1.tif", "Site": "1", "Gene": "DMSO"}])
def test_a_sheet_of_images_is_read_or_refused(images, rows):
    first = {"Plate": "P1", "Well": "A01", "Path_a": "; rm -rf x/A01_1.tif", "Site": "1", "Gene": "DMSO"}
    table = pd.DataFrame([first, *rows])
    with contextlib.suppress(UnicodeEncodeError):
        table.to_csv(images / "sheet.csv", index=False)
    screen = {
        "layout": "sheet", "root": str(images), "table": "sheet.csv", "channels": ["a"], "batch": "plate",
        "columns": {"perturbation": "Gene"}, "controls": ["DMSO"], "positive_controls": [], "plates": [],
        "exclude": {"plates": [], "wells": [], "sites": []}, "control_where": {}, "z": "max",
    }  # fmt: skip
    with contextlib.suppress(CellmaeError):
        for slug in plates(screen):
            for name in index_fields(screen, slug)["path_a"].dropna():
                assert (images / name).resolve().is_relative_to(images.resolve())
            assert index_wells(screen, slug)["well"].map(parse_well).notna().all()


@given(st.binary(max_size=60) | st.text(st.sampled_from("ab,\t\n\"'<>;"), max_size=60).map(str.encode))
def test_bytes_are_a_table_or_refused(tmp_path, content):
    (tmp_path / "pairs.csv").write_bytes(content)
    with contextlib.suppress(CellmaeError):
        pairs = read_relationships(tmp_path / "pairs.csv")
        assert np.ndim(pairs) == 2
