"""Ways to run the workflow on a Slurm, and to make its jobs greedy or slow."""

import subprocess
import sys
from pathlib import Path

from workflow.checkout import ENVIRONMENT, Checkout

from .slurm import Slurm

# The cluster has no accounting, and the tests no patience.
OPTIONS = ("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "4", "--latency-wait", "10")

# Put before every Python process; strikes those whose command line has a certain part.
GREED = """
import sys, time
if any(part.endswith(".index_fields.py") for part in sys.orig_argv):
    taken = b"x" * 1_300_000_000
    time.sleep(6)  # until Slurm has looked
    del taken
"""
SLOWNESS = """
import sys, time
if any("pretrain_model.py" in part or "cellmae.pretraining.launch" in part for part in sys.orig_argv):
    from cellmae.pretraining.trainer import Trainer
    step = Trainer.take_step
    def slowly(*arguments):
        time.sleep({seconds})
        return step(*arguments)
    Trainer.take_step = slowly
"""


def meddle(checkout: Checkout, code: str) -> dict[str, str]:
    """Return variables with which every Python process runs a piece of code first."""
    folder = checkout.folder / "meddling"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": f"{folder}:{ENVIRONMENT.get('PYTHONPATH', '')}"}


def start(checkout: Checkout, slurm: Slurm, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
    """Start the workflow on a cluster; it tells what it does in ``said``."""
    command = (
        sys.executable,
        "-m",
        "snakemake",
        "--workflow-profile",
        "profiles/slurm",
        "--cores",
        "2",
        *OPTIONS,
        *arguments,
    )
    with said(checkout).open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=checkout.folder,
            env=ENVIRONMENT | variables | slurm.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def finish(process: subprocess.Popen[bytes], checkout: Checkout) -> None:
    """Wait for the workflow, which must succeed."""
    assert process.wait() == 0, said(checkout).read_text()


def said(checkout: Checkout) -> Path:
    return checkout.folder / "snakemake.out"
