"""docs/tutorial.md: its commands run, in its order, and say what it says they do."""

import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from .blocks import blocks


@pytest.mark.configs
@pytest.mark.timeout(1500)
def test_the_tutorial_goes_as_it_says(repository: Path, tmp_path: Path) -> None:
    for name in ("workflow", "profiles", "envs"):
        shutil.copytree(repository / name, tmp_path / name)
    shutil.copy(repository / "Snakefile", tmp_path)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    said = ""
    page = blocks(repository / "docs/tutorial.md")
    for block, following in pairwise([*page, page[-1]]):
        if block.title:
            (tmp_path / block.title).write_text(block.text)
        elif block.language == "text":
            for line in block.text.splitlines():
                assert line in said, f"{line!r} is not in:\n{said}"
        else:
            said = _run(block.language, block.text, tmp_path, fails=following.text.startswith("cellmae: "))
    assert (tmp_path / "results/my-screen/report/index.html").is_file()


def _run(language: str, code: str, folder: Path, *, fails: bool) -> str:
    shell = {"sh": ["bash", "-euc", code], "python": [sys.executable, "-c", code]}
    done = subprocess.run(
        shell[language], cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    said = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, said
    return said
