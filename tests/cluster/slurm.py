"""A Slurm of two virtual nodes on this machine, with a folder, a key and ports of its own."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
NODES = ("n1", "n2")
GPU_DEVICES = ("/dev/zero", "/dev/full")  # stand for the GPUs of a node: Slurm wants character devices
SECONDS_TO_START = 60
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "TERM")

CONFIGURATION = """
ClusterName=cellmae
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
AccountingStorageType=accounting_storage/none
# A job that takes more memory than it asked for is killed.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
MinJobAge=3600
InactiveLimit=0
ReturnToService=2
GresTypes=gpu
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{node_ports}] CPUs=8 RealMemory=16000 Gres=gpu:fake:2
PartitionName=cpu Nodes=n[1-2] Default=YES State=UP
PartitionName=gpu Nodes=n[1-2] State=UP
"""
GPUS = "NodeName=n[1-2] Name=gpu Type=fake File={devices}\n"
ACCOUNT = "lab"  # the only one
# What jobs and Snakemake's plugin find before Slurm's own programs.
PROGRAMS = {
    # A step that Snakemake starts has no SLURM_CONF.
    "srun": 'SLURM_CONF={folder}/slurm.conf exec {srun} "$@"',
    # There is no accounting to ask for the accounts of a user.
    "sacctmgr": f"echo {ACCOUNT}",
}


def missing() -> list[str]:
    """Return the programs of Slurm and munge that are not installed."""
    return [name for name in (*DAEMONS, *CLIENTS) if _find(name) is None]


def _find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def _free_ports(count: int) -> int:
    """Return the first of some neighbouring ports that nobody listens at."""
    for first in range(17001 + os.getpid() % 1000 * 4, 60000, count):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise RuntimeError("no free ports")


def wait_until(condition: Callable[[], object], *, seconds: float, what: str) -> None:
    """Wait for a condition; AssertionError when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.5)


@dataclass(frozen=True)
class Slurm:
    """A running cluster.

    Attributes
    ----------
    folder
        Its configuration, state and logs.
    """

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use this cluster."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}

    def ask(self, *command: str) -> str:
        """Run a client of Slurm; return what it says."""
        done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """Return the jobs of all times, in order, as ``scontrol`` shows them: JobId, JobState, NodeList, TRES, ..."""
        lines = self.ask("scontrol", "--oneliner", "show", "job").splitlines()
        found = [dict(part.split("=", 1) for part in line.split() if "=" in part) for line in lines]
        return sorted((job for job in found if "JobId" in job), key=lambda job: int(job["JobId"]))

    def end_now(self, job: str) -> None:
        """Move a job's time limit to now: Slurm looks for such jobs every half minute."""
        self.ask("scontrol", "update", f"JobId={job}", "EndTime=now")

    def cancel_jobs(self) -> None:
        self.ask("scancel", "--user", getpass.getuser())
        wait_until(lambda: not self.ask("squeue", "--noheader"), seconds=SECONDS_TO_START, what="an empty queue")

    def drain(self, node: str) -> None:
        self.ask("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")

    def resume(self, node: str) -> None:
        self.ask("scontrol", "update", f"NodeName={node}", "State=RESUME")

    def logs(self) -> str:
        """Return the last that each daemon said."""
        last = {path.name: path.read_text().splitlines()[-10:] for path in sorted(self.folder.glob("*.log"))}
        return "\n".join(f"{name}: {line}" for name, lines in last.items() for line in lines)

    def is_up(self) -> bool:
        done = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--format=%N %T"],
            env=os.environ | self.environment, capture_output=True, text=True,
        )  # fmt: skip
        return set(done.stdout.splitlines()) == {f"{node} idle" for node in NODES}  # a line a partition


@contextlib.contextmanager
def running_slurm(folder: Path) -> Iterator[Slurm]:
    """Start munged, slurmctld and two slurmd in a folder of their own, and end them."""
    folder.chmod(0o755)  # munged wants to see its socket from anywhere
    for name in ("state", "bin", *(f"spool.{node}" for node in NODES)):
        (folder / name).mkdir(mode=0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    port = _free_ports(1 + len(NODES))
    slurm = Slurm(folder)
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            folder=folder,
            host=socket.gethostname().split(".")[0],
            user=getpass.getuser(),
            controller_port=port,
            node_ports=f"{port + 1}-{port + len(NODES)}",
        )
    )
    (folder / "gres.conf").write_text(GPUS.format(devices=",".join(GPU_DEVICES)))
    for name, command in PROGRAMS.items():
        program = folder / "bin" / name
        program.write_text(f"#!/bin/sh\n{command.format(folder=folder, srun=_find('srun'))}\n")
        program.chmod(0o755)

    munge = [
        *("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"),
        *(f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"),
    ]
    processes = []
    try:
        for command in (munge, ["slurmctld", "-D"], *(["slurmd", "-D", "-N", node] for node in NODES)):
            processes.append(_start(command, slurm))
            if command is munge:
                wait_until((folder / "munge.socket").exists, seconds=SECONDS_TO_START, what="munged")
        wait_until(slurm.is_up, seconds=SECONDS_TO_START, what="Slurm's two nodes")
        try:
            yield slurm
        finally:
            slurm.cancel_jobs()
    except BaseException as failure:
        failure.add_note(slurm.logs())
        raise
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _start(command: list[str], slurm: Slurm) -> subprocess.Popen[bytes]:
    """Start a daemon that ends with this process, however that ends, and not at a Ctrl-C before its jobs."""
    name, *arguments = command
    with (slurm.folder / "daemons.log").open("ab") as output:
        return subprocess.Popen(
            [*DIE_WITH_PARENT, _find(name), *arguments],
            env=os.environ | slurm.environment, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip


if __name__ == "__main__":
    with running_slurm(Path(sys.argv[1])) as cluster:
        print(cluster.environment)
        signal.pause()
