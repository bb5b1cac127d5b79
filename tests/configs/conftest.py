"""Complete configurations, run from images or profiles to the report as a user would, with results elsewhere."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.configs)
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def run_configuration(repository, tmp_path_factory) -> Callable[..., Path]:
    """Run a configuration in a folder of its own; returns that folder."""

    def run(config: str, **variables: str) -> Path:
        folder = tmp_path_factory.mktemp(Path(config).stem)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "snakemake", "--cores", "2"),
                *("--snakefile", repository / "Snakefile", "--directory", folder),
                *("--configfile", repository / config),
            ],
            env=os.environ | variables,
            capture_output=True,
            text=True,
            cwd=repository,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
        return folder

    return run
