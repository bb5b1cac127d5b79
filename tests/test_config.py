"""The configuration: every mistake is one line that names the key, and defaults are those of the code."""

import copy
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from cellmae.config import load, validate
from cellmae.errors import ConfigError
from cellmae.models import FAMILIES
from cellmae.models.architecture import KEYS, SIZES, UNET_SIZES, read_architecture
from cellmae.pretraining import Plan
from cellmae.screen.simulation import CHANNELS

NEEDS_ANOTHER_RUN = "scaling-small-no-nuclei.yaml"  # see tests/workflow/test_scaling_control.py
CONFIGS = [
    "config.yaml",
    *(
        f"configs/{path.name}"
        for path in (Path(__file__).parents[1] / "configs").glob("*.yaml")
        if path.name != NEEDS_ANOTHER_RUN
    ),
]


@pytest.fixture(scope="session")
def schema(repository) -> Path:
    return repository / "workflow" / "schemas" / "config.schema.yaml"


@pytest.fixture
def config(tmp_path, monkeypatch) -> dict:
    monkeypatch.chdir(tmp_path)
    return {
        "results": "results/run",
        "screen": {"layout": "simulated", "root": "plates"},
        "tiles": {"size": 64},
        "models": {"mae": {"family": "mae", "patch": 8}, "intensity": {"family": "intensity"}},
    }


def put(config: dict, path: str, value: object) -> dict:
    """Return a copy with one key changed, given by its path."""
    changed = copy.deepcopy(config)
    *sections, key = path.split(".")
    parent = changed
    for section in sections:
        parent = parent.setdefault(section, {})
    parent[key] = value
    return changed


def lines(config: dict, schema: Path) -> list[str]:
    """Return the lines by which a configuration is refused."""
    with pytest.raises(ConfigError) as caught:
        validate(config, schema)
    return str(caught.value).splitlines()


def test_defaults_are_filled_in_everywhere(config, schema):
    completed = validate(config, schema)
    assert completed["screen"]["controls"] == ["EMPTY_control"]  # from the branch of the layout
    assert completed["screen"]["simulation"]["plates"] == 3
    assert completed["models"]["mae"]["mask_ratio"] == 0.75  # from two branches of the family
    assert completed["models"]["mae"]["seed"] == 0
    assert completed["models"]["intensity"] == {"family": "intensity"}
    assert completed["alignments"]["tvn"]["pca"] == 128  # from within a default
    assert completed["maps"]["thresholds"] == [[0.05, 0.95]]


def test_the_configuration_itself_stays_as_it_is(config, schema):
    before = copy.deepcopy(config)
    validate(config, schema)["maps"]["thresholds"].append("changed")
    assert config == before
    assert validate(config, schema)["maps"]["thresholds"] == [[0.05, 0.95]]


def test_blank_keys_take_their_defaults(config, schema):
    blank = put(put(config, "alignments", None), "models.mae.mask_ratio", None)
    assert validate(blank, schema) == validate(config, schema)


def test_the_order_of_keys_does_not_matter(config, schema):
    shuffled = copy.deepcopy(config)
    shuffled["models"]["mae"] = {"patch": 8, "seed": 0, "family": "mae"}
    completed = validate(shuffled, schema)["models"]["mae"]
    assert list(completed) == list(validate(config, schema)["models"]["mae"])


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("tiles.sise", 3, ["tiles.sise: there is no such key (did you mean 'size'?)", "max_lost_share"]),
        ("screen.table", "x.csv", ["screen.table: there is no such key"]),  # a key of another layout
        ("models.intensity.patch", 8, ["models.intensity.patch: there is no such key", "allowed are family"]),
        ("tiles.size", "big", ["tiles.size: found 'big', expected a whole number"]),
        ("tiles.size", 3, ["tiles.size: found 3, expected at least 8"]),
        ("tiles", [64], ["tiles: found [64], expected keys with values"]),
        ("screen.layout", "rxrx", ["screen.layout: found 'rxrx', expected one of simulated, rxrx1", "mean 'rxrx3'"]),
        ("screen.controls", "EMPTY_control", ["screen.controls: found 'EMPTY_control', expected a list"]),
        ("screen.channels", ["dna"], ["screen.channels: found ['dna'], expected ['nuclei', "]),
        ("models.mae.family", "mea", ["models.mae.family: found 'mea'", "(did you mean 'mae'?)"]),
        ("models.mae.learning_rate", "1e-4", ["models.mae.learning_rate: found '1e-4'", "write 1.0e-04"]),
        ("models.mae.mask_ratio", 1, ["models.mae.mask_ratio: found 1, expected less than 1"]),
        ("models.mae.betas", [0.9], ["models.mae.betas: found [0.9], expected a list at least as long as 2"]),
        ("models.my mae", {"family": "mae"}, ["models.my mae: this name becomes part of paths"]),
        ("models.mae", {}, ["models.mae.family: found nothing, expected: Trained on the plates: mae, a masked"]),
        ("models", {}, ["models: found {}, expected at least 1 entry"]),
        ("alignments", {"a": {"method": "tvn", "standardise": "none"}}, ["alignments.a.standardise: there is no"]),
        ("results", None, ["results: found nothing, expected text"]),
        ("maps.thresholds", [[0.9, 0.1]], ["maps.thresholds: found [0.9, 0.1], expected the lower one first"]),
        ("tiles.range_percentiles", [99, 1], ["tiles.range_percentiles: found [99, 1]"]),
        ("models.mae.patch", 7, ["models.mae.patch: found 7, which does not divide tiles.size (64)", "8, 16"]),
        ("models.cp", {"family": "features"}, ["models.cp.table: found nothing, expected the table"]),
        ("models.cp", {"family": "features", "table": "no.csv"}, ["models.cp.table: the file no.csv does not exist"]),
        ("maps.relationships", {"known": "no.csv"}, ["maps.relationships.known: the file no.csv does not exist"]),
        ("maps.compound_targets", "no.csv", ["maps.compound_targets: the file no.csv does not exist"]),
        (
            "maps",
            {"aggregate": "median", "weights": "agreement"},
            ["maps.weights: found 'agreement', which weighs means"],
        ),
        ("maps.replicates", {"draws": 9}, ["maps.replicates.draws: found 9, expected at least 99"]),
        ("genes.arms", "no.csv", ["genes.arms: the file no.csv does not exist"]),
        ("screen.root", "${CELLMAE_NOT_SET}/x", ["screen.root: the environment variable CELLMAE_NOT_SET is not set"]),
    ],
)
def test_a_mistake_is_named_in_one_line(config, schema, path, value, said):
    (line,) = lines(put(config, path, value), schema)
    assert all(part in line for part in said), line


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("base_url", "ftp://x", "screen.fetch.base_url: found 'ftp://x', expected: Another address (https://"),
        ("checksums", {"a": "12"}, "screen.fetch.checksums.a: found '12', expected: sha256, sha1 or md5, a colon"),
        ("source", "rxrx", "screen.fetch.source: found 'rxrx', expected one of rxrx1, rxrx3-core"),
    ],
)
def test_mistakes_in_what_to_fetch(config, schema, key, value, said):
    config["screen"] = {
        "layout": "rxrx1",
        "root": "plates",
        "channels": ["a"],
        "fetch": {"source": "rxrx1", key: value},
    }
    (line,) = lines(config, schema)
    assert line.startswith(said)


def test_every_mistake_has_a_line_of_its_own(config, schema):
    wrong = put(put(config, "tiles.size", "big"), "models.mae.masks", 0.5)
    assert [line.partition(":")[0] for line in lines(wrong, schema)] == ["models.mae.masks", "tiles.size"]


def test_a_screen_of_profiles_has_no_models_of_images(config, schema, tmp_path):
    config["screen"] = {"layout": "profiles", "table": "wells.parquet"}
    assert len(lines(config, schema)) == 2
    config["models"] = {"profiles": {"family": "features"}}
    assert validate(config, schema)["screen"]["columns"] == {
        "plate": "plate",
        "well": "well",
        "perturbation": "perturbation",
    }


def test_relationships_of_the_simulation_need_not_exist_yet(config, schema):
    validate(put(config, "maps.relationships", {"complexes": "./plates/relationships.csv"}), schema)


def test_results_must_be_a_folder(config, schema, tmp_path):
    (tmp_path / "taken").write_text("")
    assert lines(put(config, "results", "taken/run"), schema) == [
        f"results: {tmp_path}/taken is a file, expected a folder"
    ]


def test_variables_of_the_environment_are_put_in_place(config, schema, monkeypatch):
    monkeypatch.delenv("CELLMAE_ROOT", raising=False)
    config["screen"]["root"] = "${CELLMAE_ROOT:-there}/plates"
    assert validate(config, schema)["screen"]["root"] == "there/plates"
    monkeypatch.setenv("CELLMAE_ROOT", "/data")
    assert validate(config, schema)["screen"]["root"] == "/data/plates"


@pytest.mark.parametrize("text", ["a: [", "a: b: c"])
def test_a_file_that_is_not_yaml(tmp_path, schema, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"config.yaml is not YAML: .*line 1") as caught:
        load(path, schema)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"there is no such configuration file"):
        load(tmp_path / "other.yaml", schema)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_configurations_that_come_along(repository, schema, name, request, monkeypatch):
    if "simulated" not in (repository / name).read_text():
        monkeypatch.setenv("CELLMAE_TEST_DATA", str(request.getfixturevalue("test_data")))
    load(repository / name, schema)


def test_the_schema_and_the_code_agree(config, schema):
    rules = yaml.safe_load(schema.read_text())["properties"]["models"]["additionalProperties"]
    branches = [part["then"]["properties"] for part in rules["allOf"]]
    sizes = [keys["size"]["enum"] for keys in branches if "size" in keys]
    spec = validate(put(config, "models.mae", {"family": "mae"}), schema)["models"]["mae"]
    assert Plan.from_spec(spec | {key: tuple(spec[key]) for key in ("betas", "points")}) == Plan()
    assert read_architecture(spec, crop_size=64) == SIZES["tiny"]
    assert rules["properties"]["family"]["enum"] == [
        name for name in FAMILIES if name != "point"
    ]  # follows from `points`
    assert sizes == [list(UNET_SIZES), list(SIZES)]
    assert set(spec) >= KEYS | {field.name for field in fields(Plan)} - {"adabn"}
    for family in (name for name, family in FAMILIES.items() if family.trained):
        Plan.from_spec(validate(put(config, "models.mae", {"family": family}), schema)["models"]["mae"])


def test_a_default_decides_which_keys_there_are(config, schema):
    untrained = validate(put(config, "models.mae", {"family": "untrained"}), schema)["models"]["mae"]
    assert untrained["architecture"] == "vit"
    assert {"size", "patch", "embed_block", "seed"} <= set(untrained)
    densenet = {"family": "untrained", "architecture": "densenet-tiny"}
    assert set(validate(put(config, "models.mae", densenet), schema)["models"]["mae"]) == {*densenet, "neck", "seed"}
    assert validate(config, schema)["screen"]["channels"] == list(CHANNELS)
