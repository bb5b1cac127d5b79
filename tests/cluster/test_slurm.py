"""The workflow on a Slurm of two nodes, undisturbed and disturbed: it ends as it does on one machine."""

import pandas as pd
import psutil
import pytest

from cellmae.pretraining import read_history
from workflow.test_interruptions import digests

from .runs import GREED, SLOWNESS, finish, meddle, said, start
from .slurm import wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]

STAGES = ("screen", "tiles", "models", "embeddings", "alignment", "maps")


def states(jobs):
    return [job["JobState"] for job in jobs]


def training_states(slurm, checkout):
    return states(of(slurm.jobs_of("pretrain_model"), checkout))


def of(jobs, checkout):
    """Return the jobs of one run: the cluster remembers all."""
    return [job for job in jobs if job["WorkDir"] == str(checkout.folder)]


def test_a_screen_ends_as_it_does_on_one_machine_though_a_node_is_drained(slurm, fresh, finished_run):
    process = start(fresh, slurm)
    wait_until(lambda: of(slurm.jobs_of("pretrain_model"), fresh), seconds=600, what="a training")
    slurm.drain("n1")
    try:
        drained_at = max(int(job["JobId"]) for job in slurm.jobs())
        finish(process, fresh)
    finally:
        slurm.resume("n1")
    for stage in STAGES:
        assert digests(fresh.results / stage) == digests(finished_run / "results" / stage), stage
    assert (fresh.results / "report" / "index.html").exists()

    jobs = of(slurm.jobs(), fresh)
    assert set(states(jobs)) == {"COMPLETED"}
    later = [job for job in jobs if int(job["JobId"]) > drained_at]
    assert later
    assert {job["NodeList"] for job in later} == {"n2"}
    (training,) = of(slurm.jobs_of("pretrain_model"), fresh)
    (embeddings,) = (job for job in jobs if "/group_embeddings_" in job["StdOut"])  # two models, two plates
    assert training["TresPerJob"] == embeddings["TresPerJob"] == "gres:gpu:1"


def test_a_job_that_takes_too_much_memory_is_tried_with_more(slurm, fresh):
    finish(start(fresh, slurm, "--", "screen", **meddle(fresh, GREED)), fresh)
    greedy = [job for job in of(slurm.jobs(), fresh) if "index_fields" in job["StdOut"]]
    assert [job["MinMemoryNode"] for job in greedy] == ["1000M", "2000M"]
    assert states(greedy)[0] != "COMPLETED"
    assert states(greedy)[1] == "COMPLETED"


def test_a_training_that_reaches_its_time_limit_goes_on_from_its_checkpoint(slurm, fresh, finished_run):
    fresh.configure(models__mae__checkpoint_minutes=60)  # none but that of the signal
    slow = meddle(fresh, SLOWNESS.format(seconds=2.5))
    finish(start(fresh, slurm, "--set-resources", "pretrain_model:runtime=1", "--", "models", **slow), fresh)
    trainings = training_states(slurm, fresh)
    assert len(trainings) > 1
    assert set(trainings[:-1]) == {"TIMEOUT"}
    assert "training goes on after step" in (fresh.results / "logs/models/mae.log").read_text()
    assert digests(fresh.results / "models" / "mae") == digests(finished_run / "results" / "models" / "mae")


def test_two_nodes_train_together_and_after_a_rank_is_killed_again(slurm, fresh, finished_run):
    fresh.configure(models__mae__nodes=2)
    process = start(fresh, slurm, "--", "models", **meddle(fresh, SLOWNESS.format(seconds=1)))
    state = fresh.results / "models" / "mae" / "state"
    wait_until(lambda: any(state.glob("*-000000003.pt")), seconds=600, what="a checkpoint")
    (rank,) = ranks_of(str(fresh.folder), number="1")
    rank.kill()
    wait_until(
        lambda: states(of(slurm.jobs_of("pretrain_model"), fresh))[0] == "FAILED",
        seconds=60,
        what="the end of a training",
    )
    finish(process, fresh)

    trainings = of(slurm.jobs_of("pretrain_model"), fresh)
    assert states(trainings) == ["FAILED", "COMPLETED"]
    assert {job["NodeList"] for job in trainings} == {"n[1-2]"}
    assert {(job["TresPerJob"], job["TresPerNode"]) for job in trainings} == {("gres:gpu:2", "gres:gpu:1")}
    assert "a rank of the training failed and ended the others" in said(fresh).read_text()
    log = (fresh.results / "logs/models/mae.log").read_text()
    assert log.count("2 ranks") == 2
    assert "training goes on after step" in log
    histories = [
        read_history(folder / "models/mae/history.csv") for folder in (fresh.results, finished_run / "results")
    ]
    pd.testing.assert_series_equal(*(history["loss"] for history in histories), rtol=1e-3)


def ranks_of(folder: str, *, number: str) -> list[psutil.Process]:
    """Return the processes that have a certain rank in a training of a folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        command, variables = process.info["cmdline"] or [], process.info["environ"] or {}
        if "cellmae.pretraining.launch" in command and folder in " ".join(command) and variables.get("RANK") == number:
            found.append(process)
    return found
