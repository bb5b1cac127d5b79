"""The workflow on a Slurm, followed and meddled with."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from workflow.checkout import ENVIRONMENT, Checkout

from .slurm import DIE_WITH_PARENT, Slurm, wait_until

COMMAND = (
    *(*DIE_WITH_PARENT, sys.executable, str(Path(__file__).with_name("impatient.py"))),
    *("--workflow-profile", "profiles/slurm", "--latency-wait", "10"),
    *("--cores", "2"),  # as many threads as without Slurm
    *("--slurm-status-command", "squeue"),  # there is no accounting
)
SHOWN = ("JobId", "JobState", "NodeList", "Reason", "ExitCode", "RunTime", "TimeLimit", "TRES", "StdOut")


@dataclass(frozen=True)
class Run:
    """A workflow on a cluster, from its start on."""

    checkout: Checkout
    slurm: Slurm
    process: subprocess.Popen[bytes]
    output: Path

    def jobs(self, name: str | None = None) -> list[dict[str, str]]:
        """Return its Slurm jobs so far, or those of a rule or of a group, see :meth:`Slurm.jobs`."""
        jobs = [job for job in self.slurm.jobs() if job["WorkDir"] == str(self.checkout.folder)]
        return [job for job in jobs if name in (None, name_of(job))]

    def states(self, name: str) -> list[str]:
        """Return what has become of the Slurm jobs of a rule or of a group, in order."""
        return [job["JobState"] for job in self.jobs(name)]

    def wait_until(self, condition: Callable[[], object], *, seconds: float, what: str) -> None:
        """Wait for a condition that must come true before the workflow ends."""

        def holds() -> bool:
            status = self.process.poll()
            if condition():
                return True
            assert status is None, f"the workflow ended with {status} before {what}"
            return False

        wait_until(holds, seconds=seconds, what=what)

    def finish(self) -> None:
        """Wait for the workflow, which must succeed."""
        status = self.process.wait()
        assert status == 0, f"the workflow ended with {status}"

    def story(self) -> str:
        """Return what Snakemake said and what Slurm knows of the jobs and nodes."""
        jobs = [" ".join(f"{key}={job.get(key)}" for key in SHOWN) for job in self.jobs()]
        nodes = self.slurm.ask("sinfo", "--Node", "--long")
        return "\n".join([self.output.read_text(), *jobs, nodes])


def name_of(job: dict[str, str]) -> str:
    """Return the rule or the group that a Slurm job works for, by the folder of its log."""
    logs = Path(job["WorkDir"], ".snakemake", "slurm_logs")
    kind, name, *_ = Path(job["StdOut"]).relative_to(logs).parts[0].split("_", maxsplit=1)
    return name if kind == "rule" else name.split("_")[0]  # after the group, its rules


@contextlib.contextmanager
def running(checkout: Checkout, slurm: Slurm, *arguments: str, **variables: str) -> Iterator[Run]:
    """Run the workflow on a cluster while the block lasts; a failure tells its story."""
    output = checkout.folder / "snakemake.out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=checkout.folder,
            env=ENVIRONMENT | variables | slurm.environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    run = Run(checkout, slurm, process, output)
    try:
        yield run
    except BaseException as failure:
        failure.add_note(run.story())
        raise
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        slurm.cancel_jobs()
