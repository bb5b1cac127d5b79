"""The workflow on a Slurm of two nodes."""

import pandas as pd
import pytest

from workflow.test_interruptions import digests

from .runs import submit

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]


def test_a_screen_ends_as_it_does_on_one_machine(slurm, fresh, finished_run):
    submit(fresh, slurm)
    for stage in ("screen", "tiles", "models", "embeddings", "alignment", "maps"):
        assert digests(fresh.results / stage) == digests(finished_run / "results" / stage), stage
    assert (fresh.results / "report" / "index.html").exists()
    (training,) = slurm.jobs_of("pretrain_model")
    assert training["TresPerJob"] == "gres:gpu:1"
    embeddings = [job for job in slurm.jobs() if "/group_embeddings/" in job["StdOut"]]
    assert embeddings
    assert all(job["TresPerJob"] == "gres:gpu:1" for job in embeddings)
