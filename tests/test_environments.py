"""Lock file, conda files and container recipes say the same as pyproject."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

CONDA_NAMES = {"dask-core": "dask", "matplotlib-base": "matplotlib", "python-xxhash": "xxhash", "pytorch": "torch"}
OF_CONDA = {"python", "pip", "setuptools"}  # what installs cellmae there
WITHOUT_TORCH = {"torch", "timm", "safetensors"}


@pytest.fixture(scope="module")
def project(repository: Path) -> dict:
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def pins(repository: Path) -> dict[str, Version]:
    lines = (repository / "envs/requirements.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, version in pinned.items()}


def conda(path: Path) -> dict[str, SpecifierSet]:
    found = {}
    for entry in yaml.safe_load(path.read_text())["dependencies"]:
        name, _, versions = entry.partition(" ")
        found[canonicalize_name(CONDA_NAMES.get(name, name))] = SpecifierSet(
            re.sub(r"^=(?!=)(.*)", r"==\1.*", versions)
        )
    return found


def required(entries: list[str]) -> dict[str, SpecifierSet]:
    requirements = [Requirement(entry) for entry in entries]
    return {canonicalize_name(requirement.name): requirement.specifier for requirement in requirements}


def test_every_dependency_is_pinned_as_it_may_be(project, pins):
    for entries in (project["dependencies"], *project["optional-dependencies"].values()):
        for name, versions in required(entries).items():
            assert pins[name] in versions, name


def test_the_pins_name_no_host_and_no_file(repository):
    for path in (repository / "envs").iterdir():
        assert not re.search(r"(index-url|extra-index|find-links|https?://|file:)", path.read_text()), path


@pytest.mark.parametrize("name", ["maps.yaml", "train.yaml"])
def test_conda_files_take_the_versions_of_pyproject(name, repository, project, pins):
    wanted = required(project["dependencies"])
    found = conda(repository / "envs" / name)
    assert found.pop("python").contains("3.11")
    assert OF_CONDA - {"python"} <= found.keys()
    for package, versions in found.items():
        if package in OF_CONDA:
            continue
        assert versions == wanted[package], package
        assert pins[package] in versions, package


def test_conda_files_together_hold_all_dependencies_and_only_one_holds_torch(repository, project):
    maps, train = (conda(repository / "envs" / name) for name in ("maps.yaml", "train.yaml"))
    assert maps.keys() | train.keys() == required(project["dependencies"]).keys() | OF_CONDA
    assert not WITHOUT_TORCH & maps.keys()
    assert train.keys() >= WITHOUT_TORCH


def test_every_rule_names_an_environment_that_exists(repository):
    for path in (repository / "workflow/rules").glob("*.smk"):
        for name in re.findall(r'"(\.\./\.\./envs/[^"]+)"', path.read_text()):
            assert (path.parent / name).is_file(), f"{path.name}: {name}"


@pytest.mark.parametrize("name", ["Dockerfile", "apptainer.def"])
def test_container_recipes_install_the_pinned_versions(name, repository, project):
    recipe = (repository / "envs" / name).read_text()
    image = re.search(r"^From:? python:([\d.]+)-slim$", recipe, re.MULTILINE | re.IGNORECASE)
    assert image
    assert image[1] in SpecifierSet(project["requires-python"])
    install = re.search(r'pip install .*--constraint envs/requirements.txt --editable "\.\[(.*)\]"', recipe)
    assert install
    assert set(install[1].split(",")) <= project["optional-dependencies"].keys()


def test_pre_commit_runs_the_pinned_tools_of_make_lint(repository, pins):
    (local,) = yaml.safe_load((repository / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    ran = [hook["entry"].split()[0] for hook in local["hooks"]]
    lint = (repository / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    checked = re.findall(r"^\t\$\(BIN\)/(\w+)", lint, re.MULTILINE)
    assert ran == [f".venv/bin/{tool}" for tool in checked]
    assert set(checked) <= pins.keys()
