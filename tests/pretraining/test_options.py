"""What may be asked of a training beside its model, and what is said when it cannot be had."""

import logging
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from cellmae.errors import ConfigError, DataError
from cellmae.models import build_encoder, read_model
from cellmae.models.adabn import take_statistics
from cellmae.pretraining import Plan, pretrain, read_history
from cellmae.pretraining.compilation import compiled
from cellmae.pretraining.objective import build_objective
from cellmae.pretraining.trainer import Trainer

from .conftest import SPEC
from .test_run import assert_same, stop_midway, untimed

CLASSIFIER = {
    "family": "classifier", "architecture": "densenet-tiny", "crops_total": 96, "batch_size": 8, "optimizer": "adamw",
    "learning_rate": 1e-3, "precision": "float32", "seed": 5,
}  # fmt: skip


def weights_of(folder):
    return load_file(folder / "encoder.safetensors")


@pytest.mark.slow
def test_pieces_of_a_batch_give_the_same_training(plates, tmp_path):
    for count in (1, 4):
        plates.pretrain(tmp_path / str(count), accumulate=count)
    whole, pieces = (weights_of(tmp_path / str(count)) for count in (1, 4))
    for name, weights in whole.items():
        if not name.endswith("k_norm.bias"):  # without effect, so that its gradient is rounding
            assert np.linalg.norm(pieces[name] - weights) <= 1e-5 * np.linalg.norm(weights), name
    losses = [untimed(tmp_path / str(count))["loss"] for count in (1, 4)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.slow
def test_averaged_weights_are_kept_and_go_on_after_a_kill(plates, tmp_path):
    plates.pretrain(tmp_path / "trained")
    plates.pretrain(tmp_path / "averaged", ema=0.9)
    assert untimed(tmp_path / "trained")["loss"].equals(untimed(tmp_path / "averaged")["loss"])
    trained, averaged = (weights_of(tmp_path / name) for name in ("trained", "averaged"))
    assert not np.array_equal(trained["projection.weight"], averaged["projection.weight"])
    stop_midway(plates, tmp_path / "killed", 9, ema=0.9, checkpoint_minutes=0)
    plates.pretrain(tmp_path / "killed", ema=0.9, checkpoint_minutes=0)
    assert_same(tmp_path / "killed", tmp_path / "averaged")


@pytest.mark.slow
@pytest.mark.parametrize("adabn", [False, True])
def test_a_classifier_is_trained_and_goes_on_after_it_was_stopped(plates, tmp_path, monkeypatch, adabn):
    spec = CLASSIFIER | {"adabn": adabn, "checkpoint_minutes": 0}
    whole, half = (plates.arguments(tmp_path / name) | {"wells": plates.wells} for name in ("whole", "half"))
    pretrain(spec, **whole)
    history = untimed(tmp_path / "whole")
    assert history["accuracy"].between(0, 1).all()
    assert not history["eval_accuracy"].isna().all()
    assert "masked_r2" not in history
    assert read_model(tmp_path / "whole")["training"]["classes"] == ["EMPTY_control", "PSMA1", "PSMB2"]
    assert not (tmp_path / "whole" / "reconstructions.png").exists()

    step = Trainer.take_step
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "take_step", lambda self, *batch: exit(9) if self.step == 7 else step(self, *batch))
        with pytest.raises(SystemExit):
            pretrain(spec, **half)
    pretrain(spec, **half)
    assert_same(tmp_path / "half", tmp_path / "whole")


def test_a_skipped_step_leaves_the_statistics_of_batch_norms():
    torch.manual_seed(0)
    encoder = build_encoder(CLASSIFIER, channels=2, crop_size=16)
    plan = Plan.from_spec(CLASSIFIER)
    trainer = Trainer(build_objective("classifier", encoder, plan, classes=2), plan, torch.device("cpu"))
    labels = torch.zeros(8, dtype=torch.int64)
    trainer.take_step(torch.randint(0, 256, (8, 2, 16, 16), dtype=torch.uint8), labels)
    before = take_statistics(trainer.objective)
    trainer.take_step(torch.full((8, 2, 16, 16), float("nan")), labels)
    assert trainer.skipped_in_a_row == 1
    assert all(torch.equal(*pair) for pair in zip(take_statistics(trainer.objective), before, strict=True))


@pytest.mark.slow
def test_pieces_of_a_batch_may_change_midway(plates, tmp_path, monkeypatch, caplog):
    """As the advice is when memory runs out."""
    step = Trainer.take_step
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "take_step", lambda self, *batch: exit(9) if self.step == 7 else step(self, *batch))
        with pytest.raises(SystemExit):
            plates.pretrain(tmp_path, checkpoint_minutes=0)
    with caplog.at_level(logging.INFO):
        plates.pretrain(tmp_path, accumulate=2)
    assert "training goes on after step 7 of 12" in caplog.text


@pytest.mark.slow
def test_what_is_measured_comes_from_the_validation_plates(plates, tmp_path):
    arguments = plates.arguments(tmp_path)
    arguments |= {"tiles": plates.manifests[:1], "validation_tiles": plates.manifests[1:]}
    pretrain(SPEC, **arguments)
    record = read_model(tmp_path)
    assert record["plates"] == ["plate0"]
    assert record["training"]["evaluated_on"] == ["plate1"]
    assert record["training"]["eval_r2"] == read_history(tmp_path / "history.csv")["eval_r2"].iloc[-1]


@pytest.mark.slow
def test_events_for_tensorboard_hold_the_history(plates, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    plates.pretrain(tmp_path, tensorboard=True)
    events = accumulator.EventAccumulator(str(tmp_path / "events")).Reload()
    found = [(event.step, event.value) for event in events.Scalars("loss")]
    history = read_history(tmp_path / "history.csv")
    assert [step for step, _ in found] == history["crops"].tolist()
    np.testing.assert_allclose([value for _, value in found], history["loss"], rtol=1e-6)


def test_tensorboard_that_is_not_installed_is_named(plates, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"models\.tensorboard: the package tensorboard is not installed"):
        plates.pretrain(tmp_path, crops_total=8, tensorboard=True)


def test_too_little_memory_names_what_spares_it(plates, tmp_path, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("cellmae.pretraining.trainer.Trainer.take_step", fail)
    with pytest.raises(DataError, match=r"models\.batch_size 8 in 1 piece.*models\.accumulate"):
        plates.pretrain(tmp_path)


def test_without_a_compiler_the_step_stays_as_it_is(monkeypatch, caplog):
    monkeypatch.setattr("shutil.which", lambda name: None)
    module, cpu = torch.nn.Linear(2, 2), torch.device("cpu")
    with caplog.at_level(logging.WARNING):
        assert compiled(module, True, cpu) is module
    (line,) = caplog.messages
    assert line.startswith("models.compile: there is no C++ compiler")
    assert compiled(module, False, cpu) is module
    assert compiled(module, None, cpu) is module
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"ema": 1.0}, r"models\.ema"),
        ({"accumulate": 5}, r"models\.batch_size: found 48, expected a multiple of 5"),
        ({"accumulate": 0}, r"models\.accumulate: found 0"),
    ],
)
def test_what_cannot_be_carried_out_names_its_key(keys, said):
    with pytest.raises(ConfigError, match=said):
        Plan.from_spec(keys)
