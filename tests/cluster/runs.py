"""Ways to run the workflow on a Slurm."""

from workflow.checkout import Checkout

from .slurm import Slurm

# The cluster has no accounting, and the tests no patience.
OPTIONS = ("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "4", "--latency-wait", "10")


def submit(checkout: Checkout, slurm: Slurm, *arguments: str) -> str:
    """Run the workflow on a cluster, which must succeed; return what it says."""
    done = checkout.snakemake("--profile", "profiles/slurm", *OPTIONS, *arguments, **slurm.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
