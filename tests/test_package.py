"""The package by itself: what it imports is what it asks for, and what describes it agrees."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

IMPORTED_AS = {
    "yaml": "pyyaml", "PIL": "pillow", "sklearn": "scikit-learn", "lazy_loader": "lazy-loader",
    "upath": "universal-pathlib", "markupsafe": "jinja2", "vl_convert": "vl-convert-python",
}  # fmt: skip


@pytest.fixture(scope="module")
def project(repository: Path) -> dict:
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]


def imported(path: Path) -> set[str]:
    """Return the top-level names that a module imports, wherever it does."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"cellmae"}


def names_of(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(entry).name) for entry in requirements}


def test_what_the_library_imports_is_installed_with_it(repository: Path, project: dict) -> None:
    needed = {
        canonicalize_name(IMPORTED_AS.get(name, name))
        for path in (repository / "src").rglob("*.py")
        for name in imported(path)
    }
    extras = {name: names_of(entries) for name, entries in project["optional-dependencies"].items()}
    asked_for = {"tensorboard", "scib-metrics"}  # where they are missing
    optional = asked_for.union(*(extras[name] for name in ("cloud", "dask", "harmony", "ome-zarr")))
    assert needed - names_of(project["dependencies"]) <= optional


def test_the_library_does_without_snakemake(project: dict) -> None:
    assert "snakemake" not in names_of(project["dependencies"])
    assert names_of(project["optional-dependencies"]["workflow"]) == {"snakemake"}


def test_plain_installation_brings_torch(project: dict) -> None:
    assert "torch" in names_of(project["dependencies"])


def test_maps_need_no_torch_and_no_snakemake() -> None:
    code = (
        "import sys; from cellmae.alignment import fit_alignment; from cellmae.maps import recall; "
        "from cellmae.screen import plates; from cellmae.tiles import open_store; "
        "print(*{'torch', 'timm', 'snakemake'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_there_is_one_version(repository: Path, project: dict) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert yaml.safe_load((repository / "CITATION.cff").read_text())["version"] == project["version"]
    heading = re.search(r"^## (\S+?),? ", (repository / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heading is not None
    assert heading[1] == project["version"]
