"""The configuration: read, checked against its schema in one line an error, and completed with the defaults."""

import copy
import difflib
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from cellmae.errors import ConfigError
from cellmae.references import reference_files
from cellmae.study import with_study

Schema = Mapping[str, Any]

VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")
SECRET = re.compile(  # user:password@, or what signed URLs of the clouds carry
    r"://[^/?#\s]*:[^/?#\s]*@|[?&;](?:X-(?:Amz|Goog)-Signature|AWSAccessKeyId|sig|Signature|\w*(?:token|secret|password))=",
    re.IGNORECASE,
)
LONGEST_VALUE = 60  # characters of a value that a message repeats
TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "nothing",
    "number": "a number",
    "object": "keys with values",
    "string": "text",
}
LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
    "minItems": "a list at least as long as",
    "maxItems": "a list at most as long as",
}


def load(path: str | Path, schema: str | Path) -> dict[str, Any]:
    """Read a configuration file; see :func:`validate` for what comes back and what can go wrong."""
    try:
        config = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such configuration file") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    return validate(config or {}, schema)


def validate(config: Mapping[str, Any], schema: str | Path) -> dict[str, Any]:
    """Check a configuration and fill in the defaults.

    Parameters
    ----------
    config
        Configuration as written by a person. ``${NAME}`` and ``${NAME:-default}`` in a text stand for a variable
        of the environment.
    schema
        File with a JSON Schema (draft 2020-12) in YAML. A key that is absent or left blank takes its ``default``,
        also where that stands in a ``then`` whose ``if`` holds.

    Returns
    -------
    dict
        A complete copy, its keys in the order of the schema, so that their order in ``config`` matters nowhere.

    Raises
    ------
    ConfigError
        One line an error: the key's path, what was found, what is allowed.
    """
    definitions = yaml.safe_load(Path(schema).read_text())
    completed = _complete(with_study(_expanded(config, ())), definitions, definitions)
    if secrets := list(_secrets(completed, ())):
        raise ConfigError("\n".join(secrets))
    validator = Draft202012Validator(definitions)
    errors = sorted(validator.iter_errors(completed), key=lambda error: [str(key) for key in error.absolute_path])
    lines = [line for error in errors for line in _explain(error, definitions)]
    if not lines:
        lines = list(_contradictions(completed))
    if lines:
        raise ConfigError("\n".join(dict.fromkeys(lines)))
    return completed


def _expanded(value: Any, path: tuple[str, ...]) -> Any:
    """Put the values of environment variables in place of their names."""

    def substitute(match: re.Match[str]) -> str:
        found = os.environ.get(match["name"]) or match["default"]
        if found is None:
            raise ConfigError(
                f"{'.'.join(path)}: the environment variable {match['name']} is not set; set it, or give a default "
                f"as in ${{{match['name']}:-data}}"
            )
        return found

    if isinstance(value, Mapping):
        return {key: _expanded(inner, (*path, str(key))) for key, inner in value.items()}
    if isinstance(value, list):
        return [_expanded(inner, path) for inner in value]
    return VARIABLE.sub(substitute, value) if isinstance(value, str) else value


def _secrets(value: Any, path: tuple[str, ...]) -> Iterator[str]:
    """Yield a line for each URL that holds a password or a signature: configurations go to logs and reports."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secrets(inner, (*path, str(key)))
    elif isinstance(value, list):
        for inner in value:
            yield from _secrets(inner, path)
    elif isinstance(value, str) and SECRET.search(value):
        yield (
            f"{'.'.join(path)}: found a URL that holds a password, a key or a signature, which would be written to "
            "logs and the report; put credentials into the environment, as in AWS_ACCESS_KEY_ID"
        )


def _complete(value: Any, schema: Schema, root: Schema) -> Any:
    """Return a copy with the schema's defaults, its keys in the schema's order and the others after them."""
    if isinstance(value, list):
        return [_complete(item, schema.get("items", {}), root) for item in value]
    if not isinstance(value, Mapping):
        return value
    completed = _with_defaults(value, schema, root)
    # A default may be what decides which other keys there are.
    while (again := _with_defaults(completed, schema, root)).keys() != completed.keys():
        completed = again
    return completed


def _with_defaults(value: Mapping[str, Any], schema: Schema, root: Schema) -> dict[str, Any]:
    known = _known_keys(value, schema, root)
    completed = {}
    others = schema.get("additionalProperties")
    for key in [*known, *(key for key in value if key not in known)]:
        rules = known.get(key) or (others if isinstance(others, Mapping) else {})
        found = value.get(key)
        if found is None and "default" in rules:
            found = copy.deepcopy(rules["default"])
        if key in value or "default" in rules:
            completed[key] = _complete(found, rules, root)
    return completed


def _known_keys(value: Any, schema: Schema, root: Schema) -> dict[str, Schema]:
    """Return the keys that the schema names for this value, with their own schemas."""
    keys: dict[str, Schema] = {}
    for part in _applicable(value, schema, root):
        keys |= part.get("properties", {})
    return keys


def _applicable(value: Any, schema: Schema, root: Schema) -> Iterator[Schema]:
    """Yield the schema and the parts of it whose conditions hold for a value."""
    yield schema
    parts = list(schema.get("allOf", []))
    if "$ref" in schema:
        parts.append(root["$defs"][schema["$ref"].removeprefix("#/$defs/")])
    if "if" in schema:
        holds = Draft202012Validator(schema["if"]).is_valid(value)
        parts.append(schema.get("then" if holds else "else", {}))
    for part in parts:
        yield from _applicable(value, part, root)


def _explain(error: ValidationError, root: Schema) -> Iterator[str]:
    """Yield a line for each thing that a validation error says."""
    path = ".".join(str(key) for key in error.absolute_path)
    rule: Any = error.validator_value
    found: Any = error.instance
    schema: Any = error.schema
    match error.validator:
        case "additionalProperties" | "unevaluatedProperties":
            known = list(_known_keys(found, schema, root))
            for key in found:
                # Where another error hides which keys belong, jsonschema calls right ones unevaluated, too.
                if key not in known and _discriminated(found, schema):
                    meant = _closest(key, known)
                    yield f"{_join(path, key)}: there is no such key{meant}; allowed are {_listing(known)}"
        case "required":
            for key in rule:
                if key not in found:
                    about = _known_keys(found, schema, root).get(key, {}).get("description", "it is required")
                    yield f"{_join(path, key)}: found nothing, expected: {' '.join(about.split())}"
        case "type":
            types = [rule] if isinstance(rule, str) else rule
            wanted = " or ".join(TYPES[name] for name in types)
            yield f"{path}: found {_shown(found)}, expected {wanted}{_hint(found, types)}"
        case "const":
            yield f"{path}: found {_shown(found)}, expected {_shown(rule)}"
        case "enum":
            yield f"{path}: found {_shown(found)}, expected one of {_listing(rule)}{_closest(found, rule)}"
        case "pattern" if "propertyNames" in error.absolute_schema_path:
            yield f"{_join(path, found)}: this name becomes part of paths; use only letters, digits, _ and -"
        case "pattern" if "description" in schema:
            yield f"{path}: found {_shown(found)}, expected: {' '.join(schema['description'].split())}"
        case "pattern":
            yield f"{path}: found {_shown(found)}, expected letters, digits, _ and - only"
        case "uniqueItems":
            yield f"{path}: found {_shown(found)}, expected no entry twice"
        case "minProperties" | "minLength":
            yield f"{path}: found {_shown(found)}, expected at least {rule} {'entry' if found == {} else 'character'}"
        case name if name in LIMITS:
            yield f"{path}: found {_shown(found)}, expected {LIMITS[str(name)]} {rule}"
        case _:
            yield f"{path}: {error.message}"


def _discriminated(found: Mapping[str, Any], schema: Schema) -> bool:
    """Say whether the keys that choose between the schema's branches have values that it knows."""
    chosen = {key for part in schema.get("allOf", []) for key in part.get("if", {}).get("properties", {})}
    return all(found.get(key) in schema["properties"][key]["enum"] for key in chosen)


def _contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each thing that is wrong although every key by itself is right."""
    yield from _results_errors(Path(config["results"]))
    screen = config["screen"]
    size = config["tiles"]["size"]
    low, high = config["tiles"]["range_percentiles"]
    if low >= high:
        yield f"tiles.range_percentiles: found [{low}, {high}], expected the lower one first"
    yield from _tile_contradictions(config["tiles"], screen)
    for name, spec in config["models"].items():
        if spec.get("adabn") and spec["architecture"] == "vit":
            yield f"models.{name}.adabn: a vision transformer has no batch norm to adapt; choose a densenet, or false"
        if "patch" in spec and size % spec["patch"]:
            fitting = [edge for edge in range(2, size + 1) if size % edge == 0]
            yield (
                f"models.{name}.patch: found {spec['patch']}, which does not divide tiles.size ({size}); "
                f"expected one of {_listing(fitting)}"
            )
        if screen["layout"] == "profiles" and spec["family"] != "features":
            yield (
                f"models.{name}.family: found '{spec['family']}', expected 'features', as a screen of the layout "
                "'profiles' has no images"
            )
        if spec["family"] == "features":
            if "table" in spec:
                yield from _missing_file(f"models.{name}.table", spec["table"])
            elif screen["layout"] != "profiles":
                yield f"models.{name}.table: found nothing, expected the table that holds the profiles"
    made = {str(Path(path)) for path in (*reference_files(config["references"]), *_simulated_files(screen))}
    for name, path in config["maps"]["relationships"].items():
        if str(Path(path)) not in made:
            yield from _missing_file(f"maps.relationships.{name}", path)
    for name, table in config["genes"].items():
        if table is not None and str(Path(table)) not in made:
            yield from _missing_file(f"genes.{name}", table)
    if config["maps"]["compound_targets"] is not None:
        yield from _missing_file("maps.compound_targets", config["maps"]["compound_targets"])
    if config["maps"]["weights"] == "agreement" and config["maps"]["aggregate"] != "mean":
        yield "maps.weights: found 'agreement', which weighs means; use maps.aggregate: mean, or equal"
    for name, spec in config["alignments"].items():
        yield from _correction_contradictions(f"alignments.{name}", spec, config["genes"])
    for low, high in config["maps"]["thresholds"]:
        if low >= high:
            yield f"maps.thresholds: found [{low}, {high}], expected the lower one first"


def _correction_contradictions(key: str, spec: Mapping[str, Any], genes: Mapping[str, str | None]) -> Iterator[str]:
    arms, limits = spec["arm_correction"], dict(spec["filter"])
    if arms is not None and genes["arms"] is None:
        yield f"{key}.arm_correction: found no genes.arms, the table of chromosome arms; give one"
    if arms is not None and arms["genes"] == "unexpressed" and genes["expression"] is None:
        yield f"{key}.arm_correction: found no genes.expression, the table of zFPKM; give one, or set genes: all"
    if limits.pop("expressed", None) is not None and genes["expression"] is None:
        yield f"{key}.filter.expressed: found no genes.expression, the table of zFPKM; give one"
    for column, bounds in limits.items():
        if bounds.get("min", -math.inf) > bounds.get("max", math.inf):
            yield f"{key}.filter.{column}: found min {bounds['min']} above max {bounds['max']}, which leaves no well"


def _tile_contradictions(tiles: Mapping[str, Any], screen: Mapping[str, Any]) -> Iterator[str]:
    for name, (low, high) in tiles["ranges"].items():
        if low >= high:
            yield f"tiles.ranges.{name}: found [{low}, {high}], expected the lower one first"
        if name not in screen.get("channels", ()):
            yield f"tiles.ranges.{name}: there is no such channel; there are {_listing(screen.get('channels', ()))}"
    wanted, there = tiles["pixel_size"], screen.get("pixel_size")
    if wanted is not None and tiles["binning"] != 1:
        yield "tiles.pixel_size: tiles.binning says the same in another way; keep one of them"
    if wanted is not None and there is None:
        yield "tiles.pixel_size: found no screen.pixel_size, the edge of the images' pixels that it is compared with"
    elif wanted is not None and wanted < there:
        yield f"tiles.pixel_size: found {wanted}, expected at least screen.pixel_size ({there})"


def _simulated_files(screen: Mapping[str, Any]) -> list[str]:
    """Return what the simulation of the screen writes, so that it need not exist yet."""
    return [f"{screen['root']}/relationships.csv"] if screen["layout"] == "simulated" else []


def _missing_file(key: str, path: str) -> Iterator[str]:
    if not Path(path).is_file():
        yield f"{key}: the file {path} does not exist (relative paths begin at {Path.cwd()})"


def _results_errors(results: Path) -> Iterator[str]:
    existing = next(folder for folder in (results, *results.absolute().parents) if folder.exists())
    if not existing.is_dir():
        yield f"results: {existing} is a file, expected a folder"
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield f"results: {existing} cannot be written to; name a folder that can"


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _listing(values: Sequence[object]) -> str:
    return ", ".join(str(value) for value in values)


def _closest(found: object, known: Sequence[object]) -> str:
    matches = difflib.get_close_matches(str(found), [str(name) for name in known], n=1)
    return f" (did you mean '{matches[0]}'?)" if matches else ""


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _hint(found: object, wanted: Sequence[str]) -> str:
    """Explain YAML's most frequent surprise: 1e-4 without a point is text."""
    if not isinstance(found, str) or "number" not in wanted:
        return ""
    try:
        number = float(found)
    except ValueError:
        return ""
    return f"; write {number:.1e}" if math.isfinite(number) else ""
