"""Commands that documents and configurations show are read by snakemake as they are meant."""

import re
import shlex
from pathlib import Path

import pytest
from snakemake.cli import get_argument_parser

REPOSITORY = Path(__file__).parents[1]
PAGES = ["README.md", *(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))]
CONFIGS = [f"configs/{path.name}" for path in (REPOSITORY / "configs").glob("*.yaml")]
COMMAND = re.compile(r"^(?:#\s+)?(?:\S*/)?snakemake (?P<arguments>.*?)(?:\s+#.*)?$", re.MULTILINE)


def commands(page: str) -> list[list[str]]:
    """Return the arguments of the commands of a page that begin a line."""
    text = (REPOSITORY / page).read_text().replace("\\\n", " ")
    return [shlex.split(match["arguments"]) for match in COMMAND.finditer(text)]


def test_there_are_commands() -> None:
    assert sum(len(commands(page)) for page in [*PAGES, *CONFIGS]) > 25


@pytest.mark.parametrize("page", [page for page in [*PAGES, *CONFIGS] if commands(page)])
def test_configurations_and_targets_are_told_apart(page: str) -> None:
    for arguments in commands(page):
        parsed = get_argument_parser().parse_args(arguments)
        assert all(str(path).endswith(".yaml") for path in parsed.configfile or []), arguments
        assert not [target for target in parsed.targets if target.endswith(".yaml")], arguments
