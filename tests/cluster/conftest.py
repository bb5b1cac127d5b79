"""A Slurm that runs on this machine, and a small screen to send through it."""

import os
import signal

import pytest

from workflow.conftest import finished, finished_run, fresh, fresh_checkout, screened_plates

from .slurm import missing, running_slurm

__all__ = ["finished", "finished_run", "fresh", "fresh_checkout", "screened_plates"]


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """A running Slurm of two nodes; the test skips where it is not installed."""
    if programs := missing():
        told = f"no {', '.join(programs)}: apt-get install slurmctld slurmd slurm-client munge"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the cluster as Ctrl-C does
    with running_slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster
