"""A small screen, and a finished run over it that the tests copy."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from cellmae.screen.simulation import simulate_plate, write_truth

from .checkout import LATER_PLATE, PLATES, SIMULATION, Checkout, plates_of


@pytest.fixture(scope="session")
def screened_plates(tmp_path_factory) -> Path:
    """Folder of three plates in RxRx3's layout, the last of which the metadata do not name."""
    root = tmp_path_factory.mktemp("screen")
    write_truth(SIMULATION, root=root)
    for plate in [*PLATES, LATER_PLATE]:
        experiment, _, number = plate.partition("_Plate")
        simulate_plate(SIMULATION, root=root, experiment=experiment, plate=int(number), manifest=root / f"{plate}.json")
    plates_of(PLATES).to_csv(root / "metadata.csv", index=False)
    return root


@pytest.fixture(scope="session")
def fresh_checkout(tmp_path_factory, repository, screened_plates) -> Path:
    folder = tmp_path_factory.mktemp("fresh") / "checkout"
    for name in ("workflow", "profiles", "envs"):
        shutil.copytree(repository / name, folder / name)
    shutil.copy(repository / "Snakefile", folder)
    shutil.copytree(screened_plates, folder / "plates")
    Checkout(folder).configure()
    return folder


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, fresh_checkout) -> Path:
    """A checkout in which everything has been made; copy it. Tests that run side by side share one."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "finished"
    with (shared / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = tmp_path_factory.mktemp("unfinished") / "checkout"
            shutil.copytree(fresh_checkout, unfinished)
            Checkout(unfinished).run()
            unfinished.rename(folder)
    return folder


@pytest.fixture
def fresh(fresh_checkout, tmp_path) -> Checkout:
    """A checkout in which nothing has been made."""
    shutil.copytree(fresh_checkout, tmp_path / "checkout")
    return Checkout(tmp_path / "checkout")


@pytest.fixture
def finished(finished_run, tmp_path) -> Checkout:
    """A copy of a finished run."""
    shutil.copytree(finished_run, tmp_path / "checkout")
    return Checkout(tmp_path / "checkout")
