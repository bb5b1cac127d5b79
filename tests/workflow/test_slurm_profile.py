"""What the profile for Slurm plans: many plates, few Slurm jobs."""

from collections import Counter

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from .checkout import TARGETS

pytestmark = pytest.mark.slow

PLATES = 60
PROFILE = ("--workflow-profile", "profiles/slurm")


@pytest.fixture
def large(fresh):
    """A checkout with many plates, of which none has been drawn, and two models."""
    simulation = {"experiments": 1, "plates": PLATES, "genes": 4, "guides": 1, "rows": 2, "columns": 3}
    fresh.configure(
        screen={"layout": "simulated", "root": "drawn", "simulation": simulation},
        maps__relationships={"complexes": "drawn/relationships.csv"},
    )
    return fresh


def test_many_plates_are_few_jobs(large):
    groups = large.announced(LogEvent.GROUP_INFO, *PROFILE)
    assert Counter(group.group_id for group in groups) == {
        "simulation": 6, "screen": 2, "tiles": 6, "embeddings": 6, "alignment": 2, "map": 2,
    }  # fmt: skip
    jobs = Counter(
        job.rule_name for job in large.announced(LogEvent.JOB_INFO, *PROFILE) if job.rule_name not in TARGETS
    )
    grouped = Counter(job.rule.name for group in groups for job in group.jobs)
    assert (jobs["embed_plate"], grouped["embed_plate"]) == (2 * PLATES, 2 * PLATES)
    assert jobs - grouped == {
        "simulate_truth": 1, "summarise_screen": 1, "build_baseline": 1, "pretrain_model": 1, "compare_models": 1,
        "write_report": 1,
    }  # fmt: skip


def test_memory_follows_the_number_of_plates(large):
    groups = large.announced(LogEvent.GROUP_INFO, *PROFILE, "--", "maps")
    memory = {job.rule.name: job.resources["mem_mb"] for group in groups for job in group.jobs}
    assert memory["build_map"] == memory["fit_alignment"] == 4000 + 40 * PLATES
    assert memory["embed_plate"] == 4000
