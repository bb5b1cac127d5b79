"""A small screen and its configuration, and ways to plan and run the workflow on them."""

import contextlib
import copy
import logging
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from snakemake.cli import args_to_api, parse_args
from snakemake_interface_logger_plugins.common import LogEvent

from cellmae.files import digest_file
from cellmae.screen.simulation import CHANNELS, design

from .warm import Running

PLATES = ["gene-001_Plate1", "gene-002_Plate1"]
LATER_PLATE = "gene-001_Plate2"
SIMULATION = {
    "experiments": 2, "plates": 2, "genes": 22, "guides": 1, "rows": 5, "columns": 6, "control_share": 0.25,
    "fields": 1, "size": 64, "strength": 1.0, "seed": 0,
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "results": "results",
    "screen": {"layout": "rxrx3", "root": "plates", "channels": list(CHANNELS), "controls": ["EMPTY_control"]},
    "tiles": {"size": 32},
    "models": {
        "mae": {
            "family": "mae", "patch": 8, "crops_total": 320, "batch_size": 16, "optimizer": "adamw",
            "checkpoint_minutes": 0,
        },
        "intensity": {"family": "intensity"},
    },
    "alignments": {"tvn": {"method": "tvn", "pca": 8}},
    "maps": {"relationships": {"complexes": "plates/relationships.csv"}, "bootstrap": 20},
}  # fmt: skip
TIMED = {"history.csv", "training.csv", "plates.json"}  # speeds, and times of folders
TARGETS = {"all", "restore_tiles", "screen", "tiles", "models", "embeddings", "alignment", "maps", "report"}
ENVIRONMENT = dict(os.environ)  # as :mod:`.warm` has set it


def plates_of(slugs: list[str]) -> pd.DataFrame:
    """Return the metadata of these plates."""
    wells = design(SIMULATION)
    return wells[(wells["experiment_name"] + "_Plate" + wells["plate"].astype(str)).isin(slugs)]


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every file in a folder of results, but of those that tell of times, as checkpoints do."""
    return {
        str(path.relative_to(folder)): digest_file(path)
        for path in folder.rglob("*")
        if path.is_file() and path.name not in TIMED and path.suffix not in (".pt", ".partial")
    }


def results_of(checkout: "Checkout | Path") -> dict[str, str]:
    """Return the digest of every result of a run, see :func:`digests`; of none of its logs and benchmarks."""
    folder = checkout.results if isinstance(checkout, Checkout) else checkout / "results"
    found = digests(folder)
    return {path: digest for path, digest in found.items() if Path(path).parts[0] not in ("logs", "benchmarks")}


class Announcements(logging.Handler):
    """Collects what Snakemake announces of a kind: jobs, or groups of jobs."""

    def __init__(self, event: LogEvent) -> None:
        super().__init__()
        self.event = event
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", None) == self.event:
            self.records.append(record)


@dataclass
class Checkout:
    """A copy of the workflow with a configuration, plates and results of its own."""

    folder: Path
    config: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(CONFIG))

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def metadata(self) -> Path:
        return self.folder / "plates" / "metadata.csv"

    def configure(self, **changes: Any) -> None:
        """Write config.yaml with changed keys, given as ``section__key=value``; None leaves a key out."""
        for path, value in changes.items():
            *sections, key = path.split("__")
            parent = self.config
            for section in sections:
                parent = parent.setdefault(section, {})
            parent[key] = value
            if value is None:
                del parent[key]
        (self.folder / "config.yaml").write_text(yaml.safe_dump(self.config))

    def annotate(self, table: pd.DataFrame) -> None:
        """Write the screen's metadata."""
        table.to_csv(self.metadata, index=False)

    def plan(self, *arguments: str) -> set[str]:
        """Return what a dry run would do: the message of each job but that of the target."""
        announced = self.announced(LogEvent.JOB_INFO, *arguments)
        return {job.rule_msg for job in announced if job.rule_name not in TARGETS}

    def announced(self, event: LogEvent, *arguments: str) -> list[Any]:
        """Return what a dry run announces of a kind."""
        told = Announcements(event)
        logger = logging.getLogger()  # Snakemake takes away the handlers of its own
        logger.addHandler(told)
        try:
            with contextlib.chdir(self.folder):
                parser, options = parse_args(["--dry-run", *arguments])
                assert args_to_api(options, parser)
        finally:
            logger.removeHandler(told)
        return told.records

    def start(self, *arguments: str) -> Running:
        """Start snakemake, see :mod:`.warm`."""
        return Running(["--cores", "2", *arguments], folder=self.folder, environment=ENVIRONMENT)

    def snakemake(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run snakemake as a process group of its own; ``variables`` go to its environment."""
        if not variables:  # which a process may want to see from its start
            return self.start(*arguments).wait()
        return subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
            cwd=self.folder,
            env=ENVIRONMENT | variables,
            capture_output=True,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> str:
        """Run snakemake, which must succeed; return what it says."""
        done = self.snakemake(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def refusal(self, *arguments: str) -> list[str]:
        """Run snakemake, which must fail; return the lines by which cellmae says why."""
        done = self.snakemake(*arguments)
        assert done.returncode != 0, done.stdout + done.stderr
        return [line for line in done.stderr.splitlines() if line.startswith("cellmae: ")]
