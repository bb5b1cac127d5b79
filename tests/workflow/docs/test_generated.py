"""What the schema and the package know stands in the documentation as it is there, and everything has its place."""

import runpy
from pathlib import Path

import pytest
import yaml

from cellmae.models import FAMILIES

REMEDY = "run `python docs/generate.py`"


@pytest.fixture(scope="module")
def generated(repository: Path) -> dict[Path, str]:
    return runpy.run_path(str(repository / "docs/generate.py"))["pages"]()


def test_generated_pages_are_committed(generated: dict[Path, str]) -> None:
    for path, text in generated.items():
        assert path.exists(), f"{path} is missing: {REMEDY}"
        assert path.read_text() == text, f"{path} is out of date: {REMEDY}"


def test_every_page_is_generated_or_written_by_people(repository: Path, generated: dict[Path, str]) -> None:
    assert set((repository / "docs/api").iterdir()) == {path for path in generated if path.parent.name == "api"}


def test_every_key_is_shown(repository: Path, generated: dict[Path, str]) -> None:
    def keys(rules: object) -> set[str]:
        if isinstance(rules, list):
            return set().union(*map(keys, rules))
        if not isinstance(rules, dict):
            return set()
        own = {str(key) for key in rules.get("properties", {})} if "if" not in rules else set()
        inner = [value for name, value in rules.items() if name != "if"]
        return own | set().union(*map(keys, inner))

    schema = yaml.safe_load((repository / "workflow/schemas/config.schema.yaml").read_text())
    shown = "\n".join(text for path, text in generated.items() if path.parent.name == "stages")
    for key in keys(schema) - set(schema["properties"]) - {"not"}:  # of screen.control_where, where `not` is a word
        assert f"`{key}`" in shown or f".{key}`" in shown, key


def test_every_public_name_says_what_it_is(generated: dict[Path, str]) -> None:
    (listed,) = [text for path, text in generated.items() if path.match("api/index.md")]
    rows = [line.split(" | ") for line in listed.splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert [name for name, *what in rows if not what[0].strip(" |")] == []


def test_every_family_can_be_chosen(repository: Path) -> None:
    page = (repository / "docs/models.md").read_text()
    chosen = set(FAMILIES) - {"point"}  # which follows from `points`
    assert [family for family in chosen if f"| `{family}` |" not in page] == []
