"""docs/stages/: the files that the pages list are those that a run leaves."""

import re
from pathlib import Path

import pytest

from ..checkout import Checkout

NAMES = {"PLATE": r"[A-Za-z0-9_.-]+?", "MODEL": "[^/]+", "ALIGNMENT": "[^/.]+", "*": ".*"}
OF_SOME_RUNS = ("blocks.", "events/", "probe.", "scaling", "archived", "deleted", "restored")


def listed(repository: Path) -> dict[str, re.Pattern[str]]:
    """Return the files in the first columns of the tables, as patterns of paths below the results."""
    found = {}
    for page in (repository / "docs/stages").glob("*.md"):
        for row in re.findall(r"^\| (`[^|]+) \|", page.read_text(), re.MULTILINE):
            for path in re.findall(r"`([a-z]+/[^`]+)`", row):
                parts = re.split(r"(PLATE|MODEL|ALIGNMENT|\*)", path)
                found[path] = re.compile("".join(NAMES.get(part, re.escape(part)) for part in parts))
    return found


@pytest.mark.slow
def test_a_run_leaves_the_files_that_are_listed(repository: Path, finished: Checkout) -> None:
    files = [path.relative_to(finished.results).as_posix() for path in finished.results.rglob("*") if path.is_file()]
    files = [re.sub(r"\.zarr/.*", ".zarr", path) for path in files if not path.startswith(("logs/", "benchmarks/"))]
    patterns = listed(repository)
    assert len(patterns) > 20
    assert [path for path in files if not any(pattern.fullmatch(path) for pattern in patterns.values())] == []
    missing = [name for name, pattern in patterns.items() if not any(map(pattern.fullmatch, files))]
    assert [name for name in missing if not any(part in name for part in OF_SOME_RUNS)] == []
