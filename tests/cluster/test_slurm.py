"""The workflow on a Slurm of two nodes, undisturbed and disturbed: it ends as it does on one machine."""

from collections import Counter

import pandas as pd
import psutil
import pytest

from cellmae.files import remove
from cellmae.pretraining import read_history
from workflow.checkout import PLATES, digests

from .meddling import GREED, SIGHT, SLOWNESS, meddle
from .runs import name_of, running
from .slurm import ACCOUNT, NODES

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]

STAGES = ("screen", "tiles", "models", "embeddings", "alignment", "maps")
MODEL = "results/models/mae/model.yaml"
# Two plates, two models.
JOBS = {
    "screen": 1, "summarise_screen": 1, "tiles": 1, "build_baseline": 1, "pretrain_model": 1, "embeddings": 1,
    "alignment": 2, "map": 2, "compare_models": 1, "write_report": 1,
}  # fmt: skip
# What differs between clusters.
SITE = (
    *("--default-resources", f"slurm_account={ACCOUNT}", "slurm_partition=cpu"),
    *("--set-resources", "pretrain_model:slurm_partition=gpu", "embed_plate:slurm_partition=gpu"),
    *("pretrain_model:gpu_model=fake",),
)


@pytest.fixture
def untrained(finished):
    """A run that has made everything and lost its trained model."""
    remove(finished.results / "models" / "mae")
    (finished.results / "logs" / "models" / "mae.log").unlink()
    return finished


def test_a_screen_ends_as_it_does_on_one_machine_though_a_node_is_drained(slurm, fresh, finished_run):
    with running(fresh, slurm, *SITE, **meddle(fresh, SIGHT)) as run:
        run.wait_until(lambda: run.states("pretrain_model") == ["RUNNING"], seconds=600, what="a training")
        (training,) = run.jobs("pretrain_model")
        slurm.drain(training["NodeList"])
        submitted = len(run.jobs())
        try:
            run.finish()
        finally:
            slurm.resume(training["NodeList"])
        jobs = run.jobs()

    for stage in STAGES:
        assert digests(fresh.results / stage) == digests(finished_run / "results" / stage), stage
    assert (fresh.results / "report" / "index.html").exists()
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    assert {job["NodeList"] for job in jobs[submitted:]} == set(NODES) - {training["NodeList"]}
    assert Counter(map(name_of, jobs)) == JOBS

    by_name = {name_of(job): job for job in jobs}
    assert {job["Account"] for job in jobs} == {ACCOUNT}
    assert {name for name, job in by_name.items() if job["Partition"] == "gpu"} == {"pretrain_model", "embeddings"}
    assert {name: job["TresPerJob"] for name, job in by_name.items() if "TresPerJob" in job} == {
        "pretrain_model": "gres:gpu:fake:1",
        "embeddings": "gres:gpu:1",
    }
    assert (fresh.folder / "meddling" / "gpus").read_text().split() == 5 * ["0"]  # a training, four embeddings
    assert by_name["screen"]["TimeLimit"] == "00:20:00"  # 5 minutes to list images, 5 to annotate wells


def test_a_job_that_takes_too_much_memory_is_tried_with_more(slurm, fresh):
    with running(fresh, slurm, "--", f"results/screen/{PLATES[0]}.fields.parquet", **meddle(fresh, GREED)) as run:
        run.finish()
        first, second = run.jobs()
    assert [first["MinMemoryNode"], second["MinMemoryNode"]] == ["1000M", "2000M"]
    assert [first["TimeLimit"], second["TimeLimit"]] == ["00:05:00", "00:10:00"]
    assert first["JobState"] != "COMPLETED"
    assert second["JobState"] == "COMPLETED"


def test_a_training_that_reaches_its_time_limit_goes_on_from_its_checkpoint(slurm, untrained, finished_run):
    untrained.configure(models__mae__checkpoint_minutes=60)  # none but that of the signal
    slow = meddle(untrained, SLOWNESS)
    with running(untrained, slurm, "--", MODEL, **slow) as run:
        run.wait_until((untrained.folder / "meddling" / "slowed").exists, seconds=600, what="the first step")
        (training,) = run.jobs("pretrain_model")
        assert training["TimeLimit"] == "1-00:00:00"
        slurm.end_now(training["JobId"])
        run.finish()
        assert run.states("pretrain_model") == ["TIMEOUT", "COMPLETED"]
    assert "training goes on after step" in (untrained.results / "logs/models/mae.log").read_text()
    assert digests(untrained.results / "models" / "mae") == digests(finished_run / "results" / "models" / "mae")


def test_two_nodes_train_together_and_after_a_rank_is_killed_again(slurm, untrained, finished_run):
    untrained.configure(models__mae__nodes=2)
    gpus = ("--set-resources", "pretrain_model:gpu_model=fake", "pretrain_model:gres=gpu:fake:1")
    with running(untrained, slurm, *gpus, "--", MODEL, **meddle(untrained, SLOWNESS)) as run:
        state = untrained.results / "models" / "mae" / "state"
        run.wait_until(lambda: any(state.glob("*-000000003.pt")), seconds=600, what="a checkpoint")
        (rank,) = ranks_of(str(untrained.folder), number="1")
        rank.kill()
        # Left to itself, gloo would wait for half an hour.
        run.wait_until(lambda: run.states("pretrain_model")[0] == "FAILED", seconds=120, what="the end of a training")
        run.finish()
        trainings = run.jobs("pretrain_model")

    assert [job["JobState"] for job in trainings] == ["FAILED", "COMPLETED"]
    assert {job["NodeList"] for job in trainings} == {"n[1-2]"}
    assert {(job["TresPerJob"], job["TresPerNode"]) for job in trainings} == {("gres:gpu:fake:2", "gres:gpu:fake:1")}
    assert "a rank of the training failed and ended the others" in run.output.read_text()
    log = (untrained.results / "logs/models/mae.log").read_text()
    assert log.count("2 ranks") == 2
    assert "training goes on after step" in log
    histories = [
        read_history(folder / "models/mae/history.csv") for folder in (untrained.results, finished_run / "results")
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
