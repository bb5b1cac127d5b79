"""What a run took, by stage: the benchmarks that Snakemake wrote."""

from pathlib import Path

import pandas as pd

from cellmae.report.blocks import Table

STAGES = ("screen", "tiles", "models", "embeddings", "alignment", "maps")
MEBIBYTES_A_GIBIBYTE = 1024


def read_benchmarks(folder: Path) -> pd.DataFrame:
    """Return how long every job of a run took, without the report's own.

    Parameters
    ----------
    folder
        ``benchmarks`` of the run.

    Returns
    -------
    pandas.DataFrame
        ``stage``, ``job`` (its file's name without suffix), ``seconds``, ``cpu_seconds``, ``memory_gib`` (at its
        highest); empty where there are no benchmarks. What Snakemake did not measure is missing.
    """
    rows = []
    for stage in STAGES:
        for path in sorted((folder / stage).rglob("*.tsv")):
            jobs = pd.read_csv(path, sep="\t", na_values="-")
            rows += [
                {
                    "stage": stage,
                    "job": str(path.relative_to(folder / stage).with_suffix("")),
                    "seconds": job["s"],
                    "cpu_seconds": job.get("cpu_time"),
                    "memory_gib": job.get("max_rss", float("nan")) / MEBIBYTES_A_GIBIBYTE,
                }
                for job in jobs.to_dict("records")
            ]
    return pd.DataFrame(rows, columns=["stage", "job", "seconds", "cpu_seconds", "memory_gib"])


def times_tables(benchmarks: pd.DataFrame) -> list[Table]:
    """Show what each stage took; nothing where no job was measured."""
    if benchmarks.empty:
        return []
    by_stage = benchmarks.groupby("stage", sort=False)
    sums = by_stage[["seconds", "cpu_seconds"]].sum(min_count=1)
    shown = pd.DataFrame(
        {
            "Stage": sums.index,
            "Jobs": by_stage.size().to_numpy(),
            "Time": sums["seconds"].map(duration).to_numpy(),
            "Time of processors": sums["cpu_seconds"].map(duration).to_numpy(),
            "Longest job": by_stage["seconds"].max().map(duration).to_numpy(),
            "Most memory (GiB)": by_stage["memory_gib"].max().to_numpy(),
        }
    )
    caption = (
        f"What the stages took: {duration(sums['seconds'].sum())} of jobs in all, many of which may have run side by "
        "side. The last time that each job ran; as CSV, job by job."
    )
    formats = dict.fromkeys(("Jobs", "Time", "Time of processors", "Longest job"), "{}")
    return [Table("times", benchmarks, shown, caption, formats | {"Most memory (GiB)": "{:.1f}"})]


def duration(seconds: float) -> str | None:
    """Return a time in the unit that a reader would choose; None where it was not measured."""
    if seconds != seconds:
        return None
    for limit, unit, size in ((100, "s", 1), (100 * 60, "min", 60)):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 3600:,.1f} h"
