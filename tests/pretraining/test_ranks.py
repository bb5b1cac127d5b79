"""Trainings in several processes: the same result as in one, a common end, and a common resumption."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file

from cellmae.errors import ConfigError, DataError
from cellmae.logging import job_log
from cellmae.pretraining import pretrain, read_history

from .conftest import SPEC
from .test_run import untimed

pytestmark = pytest.mark.slow


def train(plates, folder, **changes):
    ranks, nodes = changes.pop("ranks", 1), changes.pop("nodes", 1)
    pretrain(SPEC | changes, **plates.arguments(folder), ranks=ranks, nodes=nodes)
    return load_file(folder / "encoder.safetensors")


def assert_alike(one, other):
    assert one.keys() == other.keys()
    for name, weights in one.items():
        # The bias of keys has no effect on attention and so a gradient of nothing but rounding, which AdamW enlarges.
        if not name.endswith("k_norm.bias"):
            assert np.linalg.norm(weights - other[name]) <= 1e-5 * np.linalg.norm(other[name]), name


def test_two_ranks_train_as_one(plates, tmp_path):
    """With dropped paths, a clipped gradient and AdamW; only the order of sums differs."""
    alone = train(plates, tmp_path / "alone")
    with job_log(tmp_path / "log"):
        together = train(plates, tmp_path / "together", ranks=2)
    assert (tmp_path / "log").read_text().count("12 steps of 8 crops from 54 tiles on cpu, 1 threads, 2 ranks") == 2
    assert_alike(together, alone)
    columns = ["loss", "mse", "fourier", "gradient_norm", "masked_r2", "eval_r2"]
    one, other = (untimed(tmp_path / name)[columns] for name in ("alone", "together"))
    np.testing.assert_allclose(one, other, rtol=1e-3)


# Starts its command once a node, all of them on this machine, and ends the others when one fails: what we ask srun for.
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do
  [[ $1 == --nodes=* ]] && nodes=${1#*=}
  shift
done
trap 'kill $(jobs -p); wait' TERM
for ((node = 0; node < nodes; node++)); do SLURM_NODEID=$node "$@" & done
for ((node = 0; node < nodes; node++)); do wait -n || { kill $(jobs -p); exit 1; }; done
"""


@pytest.fixture
def slurm_job(tmp_path_factory, monkeypatch):
    """Make it look as if this process was the first of a Slurm job."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "srun").write_text(SRUN)
    (folder / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", str(os.getpid()))


def test_two_nodes_train_as_one(plates, tmp_path, slurm_job):
    alone = train(plates, tmp_path / "alone")
    with job_log(tmp_path / "log"):
        together = train(plates, tmp_path / "together", nodes=2)
    assert (tmp_path / "log").read_text().count("2 ranks") == 2
    assert_alike(together, alone)
    assert not list((tmp_path / "together").glob(".ranks-*"))


def test_a_failing_node_is_reported_in_one_line(plates, tmp_path, slurm_job):
    arguments = plates.arguments(tmp_path) | {"channels": ["nuclei", "er"]}
    with pytest.raises(DataError, match=r"a rank of the training failed.*screen\.channels: the tiles have"):
        pretrain(SPEC, **arguments, nodes=2)


def test_ranks_that_share_a_batch_unevenly_are_refused(plates, tmp_path):
    with pytest.raises(ConfigError, match=r"models\.batch_size: found 8, expected a multiple of 3"):
        train(plates, tmp_path, ranks=3)


def test_a_failing_rank_is_reported_in_one_line(plates, tmp_path):
    arguments = plates.arguments(tmp_path) | {"channels": ["nuclei", "er"]}
    with pytest.raises(DataError, match=r"a rank of the training failed.*screen\.channels: the tiles have") as caught:
        pretrain(SPEC, **arguments, ranks=2)
    assert "\n" not in str(caught.value)


SLOW_RANKS = """
import json, sys
from cellmae.pretraining import pretrain
arguments = json.loads(sys.argv[1])
pretrain(arguments.pop("spec"), **arguments)
"""


def start(plates, folder, **changes):
    arguments = plates.arguments(folder) | {"spec": SPEC | {"crops_total": 1600} | changes, "ranks": 2}
    return subprocess.Popen(
        [sys.executable, "-c", SLOW_RANKS, json.dumps(arguments, default=str)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for_checkpoint(folder, seconds=120):
    for _ in range(seconds * 10):
        if any((folder / "state").glob("*.pt")):
            return
        time.sleep(0.1)
    raise AssertionError("no checkpoint was written")


def ranks_of(process) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "cellmae.pretraining.launch" in child.cmdline()]


def test_ranks_that_are_told_to_stop_leave_a_checkpoint_and_go_on(plates, tmp_path):
    process = start(plates, tmp_path, checkpoint_minutes=0)
    wait_for_checkpoint(tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    assert not (tmp_path / "model.yaml").exists()
    train(plates, tmp_path, crops_total=1600, ranks=2)
    assert read_history(tmp_path / "history.csv")["step"].iloc[-1] == 200


def test_a_rank_that_is_killed_ends_the_others_at_once(plates, tmp_path):
    process = start(plates, tmp_path, checkpoint_minutes=0)
    wait_for_checkpoint(tmp_path)
    ranks = [rank for rank in ranks_of(process) if "torch.distributed.run" not in rank.cmdline()]
    assert len(ranks) == 2
    ranks[1].kill()
    assert process.wait(60) != 0
    _, alive = psutil.wait_procs(ranks, timeout=10)
    assert not alive
