"""Whole trainings on two small plates: what they write, and what happens when they are stopped."""

import json
import logging
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from cellmae.errors import ConfigError, DataError
from cellmae.models import load_encoder, read_model
from cellmae.pretraining import pretrain, read_history
from cellmae.pretraining.history import MEASURED_COLUMNS

from .conftest import CHANNELS, SPEC

# A training in a process of its own, slow enough to be stopped midway; it says which step it is at.
TRAINING = """
import json, sys, time
from cellmae.pretraining import pretrain
from cellmae.pretraining.trainer import Trainer
arguments = json.loads(sys.argv[1])
step = Trainer.take_step
def slow(self, *batch):
    print(self.step, flush=True)
    time.sleep(0.1)
    step(self, *batch)
Trainer.take_step = slow
pretrain(arguments.pop("spec"), **arguments)
"""


@pytest.fixture(scope="module")
def trained(plates, tmp_path_factory):
    """A training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("trained")
    plates.pretrain(folder)
    return folder


def stop_midway(plates, folder, number: signal.Signals, **changes) -> int:
    """Train until step 5, send a signal, and return the exit status."""
    arguments = plates.arguments(folder) | {"spec": SPEC | changes}
    command = [sys.executable, "-c", TRAINING, json.dumps(arguments, default=str)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "5":
                process.send_signal(number)
    return process.returncode


def checkpointed_steps(folder) -> list[int]:
    return sorted(int(path.stem.split("-")[1]) for path in (folder / "state").glob("*.pt"))


def untimed(folder):
    return read_history(folder / "history.csv").drop(columns=list(MEASURED_COLUMNS))


def assert_same(one, other):
    weights, expected = load_file(one / "encoder.safetensors"), load_file(other / "encoder.safetensors")
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert untimed(one).equals(untimed(other))


def test_what_a_training_writes(plates, trained):
    assert sorted(path.name for path in trained.iterdir()) == [
        "encoder.safetensors", "history.csv", "model.yaml", "reconstructions.png", "state",
    ]  # fmt: skip
    record = read_model(trained)
    assert record["plates"] == ["plate0", "plate1"]
    assert record["training"]["steps"] == 12
    assert record["training"]["tiles"] == 54
    history = read_history(trained / "history.csv")
    assert history["step"].tolist() == list(range(1, 13))
    assert history["crops"].iloc[-1] == SPEC["crops_total"]
    often = history.drop(columns=[name for name in history if name.startswith("eval_") or name == "rankme"])
    assert not often.isna().any(axis=None)
    assert history.filter(regex="^eval_").iloc[-1].between(-10, 10).all()
    assert 1 <= history["rankme"].iloc[-1] <= 128
    crops = torch.randint(0, 256, (2, len(CHANNELS), 16, 16), dtype=torch.uint8)
    assert load_encoder(trained).embed(crops).shape == (2, 128)


@pytest.mark.slow
def test_the_same_training_twice(plates, trained, tmp_path):
    plates.pretrain(tmp_path)
    assert_same(tmp_path, trained)
    assert (tmp_path / "model.yaml").read_bytes() == (trained / "model.yaml").read_bytes()


@pytest.mark.slow
def test_another_seed_is_another_training(plates, trained, tmp_path):
    plates.pretrain(tmp_path, seed=6)
    assert read_model(tmp_path)["weights_digest"] != read_model(trained)["weights_digest"]


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_end(plates, trained, tmp_path):
    assert stop_midway(plates, tmp_path, signal.SIGKILL, checkpoint_minutes=0) == -signal.SIGKILL
    assert checkpointed_steps(tmp_path) == [4, 5]
    assert not (tmp_path / "model.yaml").exists()
    plates.pretrain(tmp_path, checkpoint_minutes=0)
    assert_same(tmp_path, trained)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_that_is_told_to_stop_leaves_a_checkpoint(plates, trained, tmp_path, number):
    assert stop_midway(plates, tmp_path, number) != 0
    assert checkpointed_steps(tmp_path) == [6]
    assert not (tmp_path / "model.yaml").exists()
    plates.pretrain(tmp_path)
    assert_same(tmp_path, trained)


@pytest.mark.slow
def test_a_finished_training_is_not_repeated(plates, trained, tmp_path, monkeypatch):
    plates.pretrain(tmp_path)
    monkeypatch.setattr("cellmae.pretraining.trainer.Trainer.take_step", lambda *_: pytest.fail("trained again"))
    (tmp_path / "encoder.safetensors").unlink()
    plates.pretrain(tmp_path, embed_block=2)
    assert read_model(tmp_path)["weights_digest"] == read_model(trained)["weights_digest"]
    assert load_encoder(tmp_path).architecture.embed_block == 2


@pytest.mark.slow
def test_other_settings_or_tiles_begin_afresh(plates, make_plates, tmp_path, caplog):
    plates.pretrain(tmp_path, crops_total=16)
    with caplog.at_level(logging.INFO):
        plates.pretrain(tmp_path, crops_total=16, mask_ratio=0.5)
        make_plates(0, 2).pretrain(tmp_path, crops_total=16, mask_ratio=0.5)
    assert caplog.text.count("afresh") == 2
    assert read_model(tmp_path)["plates"] == ["plate0", "plate2"]


def test_training_on_the_grid_of_tiles(plates, tmp_path):
    plates.pretrain(tmp_path, crops="grid", crops_total=16)
    assert (tmp_path / "model.yaml").exists()


def test_channels_that_differ_are_refused(plates, tmp_path):
    arguments = plates.arguments(tmp_path) | {"channels": ["nuclei", "er"]}
    with pytest.raises(DataError, match=r"screen\.channels: the tiles have nuclei, actin, .* expects nuclei, er"):
        pretrain(SPEC, **arguments)


def test_a_patch_that_does_not_fit_is_refused_before_anything_is_written(plates, tmp_path):
    with pytest.raises(ConfigError, match=r"models\.patch: 5 .*tiles\.size"):
        plates.pretrain(tmp_path / "model", patch=5)
    assert not (tmp_path / "model").exists()


def test_no_plates_are_refused(tmp_path):
    with pytest.raises(DataError, match="no plates"):
        pretrain(SPEC, tiles=[], channels=CHANNELS, crop_size=16, folder=tmp_path, threads=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named(plates, tmp_path):
    with pytest.raises(ConfigError, match="no GPU"):
        pretrain(SPEC, **plates.arguments(tmp_path) | {"device": "cuda"})


@pytest.mark.slow
def test_signals_are_handled_as_before_afterwards(plates, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    plates.pretrain(tmp_path, crops_total=8)
    assert signal.getsignal(signal.SIGTERM) is before
