"""docs/module.md: another workflow takes cellmae in, with its own configuration, and goes on from its results."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .blocks import blocks


@pytest.mark.slow
def test_another_workflow_goes_on_from_our_results(repository: Path, screened_plates: Path, tmp_path: Path) -> None:
    shutil.copytree(screened_plates, tmp_path / "plates")
    files = {block.title: block.text for block in blocks(repository / "docs/module.md") if block.title}
    for name, text in files.items():
        (tmp_path / name).write_text(text.replace("/path/to/cellmae", str(repository)))
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"perturbations": 22' in (tmp_path / "perturbations.txt").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {
        *files,
        "plates",
        "results",
        "perturbations.txt",
        ".snakemake",
    }
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["cellmae"]
