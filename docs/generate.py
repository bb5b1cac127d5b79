"""Writes the parts of the documentation that the schema and the package know: ``python docs/generate.py``.

Tables of keys, columns and sizes stand between ``<!-- keys: tiles -->`` and ``<!-- end -->`` in pages that people
write; the pages in ``api/`` are generated as a whole. A test compares what is committed with what this writes.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from cellmae.models import SIZES

DOCS = Path(__file__).resolve().parent
SCHEMAS = DOCS.parent / "workflow/schemas"
PACKAGE = DOCS.parent / "src/cellmae"
STAGES = ("screen", "tiles", "models", "pretraining", "embeddings", "alignment", "maps", "report")
MARKED = re.compile(r"(<!-- (?P<what>keys|columns|sizes): (?P<names>[^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)
ROLE = re.compile(r":[a-z]+:`~?([^`]+)`")  # of Sphinx, in docstrings
OTHERS = "all others"  # sections of the configuration that no other page shows
API = """# The package

What a notebook or a script may use; everything else may change without notice. Each stage is a package, and imports
what it needs when it is first used: `from cellmae.maps import recall` does not import PyTorch. Plates are drawn by
`design`, `simulate_plate` and `write_truth` of `cellmae.screen.simulation`, see [the tutorial](../tutorial.md).
"""
KINDS = {"array": "list", "object": "keys", "string": "text", "integer": "whole number", "boolean": "`true` or `false`"}
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}

Schema = Mapping[str, Any]


def main() -> None:
    """Write all pages that hold something generated."""
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def pages() -> dict[Path, str]:
    """Return what belongs into each page that holds something generated."""
    config = _read("config")
    texts = {path: path.read_text() for path in sorted(DOCS.rglob("*.md")) if path.parent.name != "api"}
    marked = [match for text in texts.values() for match in MARKED.finditer(text)]
    shown = {name for match in marked if match["what"] == "keys" for name in match["names"].split(", ")}

    def fill(match: re.Match[str]) -> str:
        if match["what"] == "columns":
            return f"{match[1]}\n{_columns(_read(match['names']))}\n{match[4]}"
        if match["what"] == "sizes":
            return f"{match[1]}\n{_sizes()}\n{match[4]}"
        others = [name for name in config["properties"] if name not in shown]
        names = others if match["names"] == OTHERS else match["names"].split(", ")
        return f"{match[1]}\n{_keys(config, names, named=match['names'] == OTHERS)}\n{match[4]}"

    filled = {path: MARKED.sub(fill, text) for path, text in texts.items() if MARKED.search(text)}
    return filled | _api()


def _read(name: str) -> Schema:
    return yaml.safe_load((SCHEMAS / f"{name}.schema.yaml").read_text())


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _columns(schema: Schema) -> str:
    listed = [(f"`{name}`", rules) for name, rules in schema["properties"].items()]
    if "^path(_.+)?$" in schema.get("patternProperties", {}):
        listed.append(("`path`, `path_CHANNEL`", schema["patternProperties"]["^path(_.+)?$"]))
    return _table(("column", "what"), [(name, _words(rules)) for name, rules in listed])


def _sizes() -> str:
    dimensions = ("width", "depth", "heads", "decoder_width", "decoder_depth", "decoder_heads")
    rows = [(f"`{name}`", *(str(getattr(size, key)) for key in dimensions)) for name, size in SIZES.items()]
    return _table(("size", *(f"`{key}`" if key.startswith("decoder") else key for key in dimensions)), rows)


def _keys(config: Schema, names: list[str], *, named: bool) -> str:
    parts = []
    for name in names:
        rules = config["properties"][name]
        groups = _groups(rules, f"{name}." if named else "") or {"": [(name, rules, name in config["required"])]}
        for condition, entries in groups.items():
            if condition:
                parts.append(f"{condition}:\n")
            rows = [(f"`{key}`", _values(what), _default(what, needed), _words(what)) for key, what, needed in entries]
            parts.append(_table(("key", "value", "default", "what"), rows))
    return "\n".join(parts)


def _groups(rules: Schema, prefix: str) -> dict[str, list[tuple[str, Schema, bool]]]:
    """Return the keys of a section by the condition under which they are there; those without a condition first."""
    entry = rules.get("additionalProperties")
    if isinstance(entry, Mapping) and "properties" in entry:  # models, alignments
        rules, prefix = entry, f"{prefix}NAME."
    groups: dict[str, list[tuple[str, Schema, bool]]] = {}
    for condition, part in _parts(rules):
        entries = list(_flat(part, prefix))
        if entries:
            groups.setdefault(condition, []).extend(entries)
    return groups


def _parts(rules: Schema) -> Iterator[tuple[str, Schema]]:
    yield "", rules
    for branch in rules.get("allOf", []):
        if "then" in branch:
            yield f"With {_condition(branch['if'])}", branch["then"]
        if "else" in branch:
            yield f"Unless with {_condition(branch['if'])}", branch["else"]


def _condition(rules: Schema) -> str:
    if "anyOf" in rules:
        return "; or ".join(_condition(part) for part in rules["anyOf"])
    found = []
    for key, allowed in rules["properties"].items():
        values = allowed.get("enum") or [allowed["const"]]
        found.append(f"`{key}` " + _either([f"`{value}`" for value in values]))
    return " and ".join(found)


def _either(values: list[str]) -> str:
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} or {values[-1]}"


def _flat(rules: Schema, prefix: str) -> Iterator[tuple[str, Schema, bool]]:
    for key, inner in rules.get("properties", {}).items():
        yield f"{prefix}{key}", inner, key in rules.get("required", [])
        yield from _flat(inner, f"{prefix}{key}.")


def _values(rules: Schema) -> str:
    if "anyOf" in rules:
        return _either([_values(part) for part in rules["anyOf"]])
    if "const" in rules:
        return f"`{_shown(rules['const'])}`"
    if "enum" in rules:
        return _either([f"`{value}`" for value in rules["enum"]])
    types = rules.get("type", [])
    types = [types] if isinstance(types, str) else [kind for kind in types if kind != "null"]
    bounds = ", ".join(f"{sign} {rules[limit]}" for limit, sign in LIMITS.items() if limit in rules)
    return " ".join(filter(None, (" or ".join(KINDS.get(kind, kind) for kind in types), bounds)))


def _default(rules: Schema, needed: bool) -> str:
    if "default" not in rules:
        return "**required**" if needed else ""
    default = rules["default"]
    return "nothing" if default is None or default in ([], {}) else f"`{_shown(default)}`"


def _shown(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()


def _words(rules: Schema) -> str:
    return " ".join(rules.get("description", "").split())


def _api() -> dict[Path, str]:
    """Return the pages of the public functions: a list that reads anywhere, and a page a package for the site."""
    lists, found = [], {}
    for stage in STAGES:
        path = PACKAGE / stage / "__init__.py"
        package = ast.parse(path.read_text())
        names = [(module, name) for module, public in _public(package).items() for name in public]
        alphabetic = sorted(names, key=lambda entry: entry[1])
        title = f"cellmae.{stage}"
        rows = [(f"`{name}`", _summary(PACKAGE / stage, module, name)) for module, name in alphabetic]
        lists.append(f"## [{title}]({stage}.md)\n\n{_first(package)}\n\n{_table(('name', 'what'), rows)}")
        entries = [f"::: {title}.{module}.{name}\n" for module, name in names]
        found[DOCS / f"api/{stage}.md"] = "\n".join([f"# {title}\n", f"{_first(package)}\n", *entries])
    return {DOCS / "api/index.md": "\n".join([API, *lists])} | found


def _public(package: ast.Module) -> dict[str, list[str]]:
    """Return the public names of a package by the module that holds them, as it tells lazy_loader."""
    (names,) = [
        node.value for node in ast.walk(package) if isinstance(node, ast.keyword) and node.arg == "submod_attrs"
    ]
    return ast.literal_eval(names)


def _first(node: ast.Module | ast.FunctionDef | ast.ClassDef) -> str:
    """Return the first paragraph of a docstring."""
    return _plain((ast.get_docstring(node) or "").split("\n\n")[0])


def _plain(docstring: str) -> str:
    return ROLE.sub(r"`\1`", " ".join(docstring.split())).replace("``", "`")


def _summary(folder: Path, module: str, name: str) -> str:
    path = folder / f"{module}.py"
    body = ast.parse((path if path.exists() else folder / module / "__init__.py").read_text()).body
    for node, following in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return _first(node)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(getattr(target, "id", None) == name for target in targets):
            text = following.value if isinstance(following, ast.Expr) else None
            return _plain(str(text.value)) if isinstance(text, ast.Constant) else ""
    raise LookupError(f"{name} is not in {path}")


if __name__ == "__main__":
    main()
