"""docs/developing.md: what it shows how to add works, in a copy of the repository."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ..checkout import CONFIG
from .blocks import apply_diff, blocks

COPIED = ("src", "workflow", "profiles", "envs", "docs")


@pytest.fixture(scope="module")
def extended(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with the layout, the family and the score."""
    folder = tmp_path_factory.mktemp("extended")
    for name in COPIED:
        shutil.copytree(repository / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "pyproject.toml"):
        shutil.copy(repository / name, folder)
    for block in blocks(repository / "docs/developing.md"):
        if block.title and block.language == "diff":
            apply_diff(block.text, folder, block.title)
        elif block.title:
            assert not (repository / block.title).exists()
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.text)
    return folder


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_their_tests_pass_and_fit_the_house(extended: Path) -> None:
    assert "4 passed" in run(extended, "pytest", "--quiet", "tests")
    run(extended, "ruff", "check", ".")
    run(extended, "ruff", "format", "--check", "src", "workflow")
    run(extended, "snakefmt", "--check", "Snakefile", "workflow")


@pytest.mark.slow
def test_the_workflow_takes_them(extended: Path, screened_plates: Path) -> None:
    shutil.copytree(screened_plates, extended / "plates")
    config = CONFIG | {"models": {"gradient": {"family": "gradient"}}}
    (extended / "config.yaml").write_text(yaml.safe_dump(config))
    run(extended, "snakemake", "--cores", "2", "maps")
    table = (extended / "results/maps/gradient/tvn/separation-complexes.csv").read_text().splitlines()
    assert table[0] == "separation,pairs"
    assert int(table[1].split(",")[1]) > 0
    assert json.loads((extended / "results/maps/gradient/tvn/map.json").read_text())["dimensions"] == 8


@pytest.mark.slow
def test_the_documentation_lists_them(extended: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(extended / "src")}
    subprocess.run([sys.executable, extended / "docs/generate.py"], check=True, env=environment)
    assert "`separation`" in (extended / "docs/api/index.md").read_text()
    assert "`incell`" in (extended / "docs/stages/screen.md").read_text()
