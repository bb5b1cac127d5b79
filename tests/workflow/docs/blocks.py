"""The code blocks of a page."""

import re
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$', re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code: its language, the file that it is shown as, and what stands in it."""

    language: str
    title: str | None
    text: str


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in their order."""
    return [Block(**match.groupdict()) for match in BLOCK.finditer(page.read_text())]


def apply_diff(shown: str, folder: Path, name: str) -> None:
    """Change a file as a diff without line numbers says; ``...`` stands for what lies between two places."""
    path = folder / name
    text = path.read_text()
    for place in re.split(r"^ ?\.\.\.\n", shown, flags=re.MULTILINE):
        lines = place.splitlines(keepends=True)
        before = "".join(line[1:] or "\n" for line in lines if not line.startswith("+"))
        after = "".join(line[1:] or "\n" for line in lines if not line.startswith("-"))
        assert text.count(before) == 1, f"{name} holds this {text.count(before)} times:\n{before}"
        text = text.replace(before, after)
    path.write_text(text)
