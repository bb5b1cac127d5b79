"""docs/troubleshooting.md: every message that it quotes is one that the source can give."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .blocks import blocks

LEAST_WORDS = 15  # characters of a message that are its own, so that no pattern matches everything


@pytest.fixture(scope="module")
def messages(repository: Path) -> list[re.Pattern[str]]:
    """Every text of the package and of the workflow's plan, as a pattern with anything where values come in."""
    paths = [*(repository / "src/cellmae").rglob("*.py"), repository / "workflow/plan.smk"]
    return [pattern for path in paths for pattern in patterns(ast.parse(path.read_text()))]


def patterns(tree: ast.AST) -> Iterator[re.Pattern[str]]:
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=parts):
                texts = [part.value if isinstance(part, ast.Constant) else None for part in parts]
            case ast.Constant(value=str(text)):
                texts = [text]
            case _:
                continue
        if sum(len(text or "") for text in texts) >= LEAST_WORDS:
            yield re.compile("".join(".*" if text is None else re.escape(text) for text in texts))


def quoted(repository: Path) -> list[str]:
    page = blocks(repository / "docs/troubleshooting.md")
    return [block.text.strip() for block in page if block.language == "text"]


def test_every_message_is_one_of_the_source(repository: Path, messages: list[re.Pattern[str]]) -> None:
    shown = quoted(repository)
    assert len(shown) > 20
    unknown = [message for message in shown if not any(pattern.fullmatch(message) for pattern in messages)]
    assert unknown == []


def test_a_message_of_nobody_is_noticed(messages: list[re.Pattern[str]]) -> None:
    assert not any(pattern.fullmatch("screen.root: the folder /data is lost; look for it") for pattern in messages)
