import math

import numpy as np
import pytest
import torch

from cellmae.models import SIZES, MaskedAutoencoder, ViTEncoder, build_encoder
from cellmae.models.adabn import take_statistics
from cellmae.pretraining import Plan
from cellmae.pretraining.evaluation import Evaluation, nearest_visible, rankme
from cellmae.pretraining.objective import MaskedObjective, build_objective

CPU = torch.device("cpu")


def test_rankme_counts_directions():
    generator = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(12, 12, generator=generator)).Q
    assert rankme(axes[:, :5] @ axes[:5]) == pytest.approx(5)
    assert rankme(torch.ones(9, 4)) == pytest.approx(1)
    assert 1 < rankme(torch.randn(50, 8, generator=generator)) < 8
    assert math.isnan(rankme(torch.tensor([[1.0, float("inf")]])))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_nearest_visible_patch_is_the_nearest(channels):
    edge, seen = 4, 5
    generator = torch.Generator().manual_seed(0)
    order = torch.stack([torch.randperm(channels * edge**2, generator=generator) for _ in range(3)])
    visible, masked = order[:, :seen], order[:, seen:]
    nearest = nearest_visible(visible, masked, edge)
    for crop in range(3):
        for place, patch in enumerate(masked[crop].tolist()):
            distances = [
                1e6 * abs(patch // edge**2 - other // edge**2)
                + abs(patch % edge**2 // edge - other % edge**2 // edge)
                + abs(patch % edge - other % edge)
                for other in visible[crop].tolist()
            ]
            assert distances[nearest[crop, place]] == min(distances)


def test_masked_models_are_measured_beside_guesses():
    torch.manual_seed(0)
    encoder = ViTEncoder(SIZES["tiny"], channels=2, crop_size=32)
    objective = MaskedObjective(MaskedAutoencoder(encoder, mask_ratio=0.5), fourier_weight=0.0).train()
    smooth = np.linspace(0, 255, 32).astype(np.uint8)
    crops = np.broadcast_to(smooth, (5, 2, 32, 32)).copy()
    measured = Evaluation(crops, None, seed=0, batch_size=2, device=CPU)(objective)
    assert measured["eval_r2"] == pytest.approx(1 - measured["eval_mse"], abs=0.02)  # pixels have variance 1
    assert measured["eval_r2_nearest_visible"] <= 1
    whole = Evaluation(crops, None, seed=0, batch_size=5, device=CPU)(objective)
    assert measured == pytest.approx(whole, rel=1e-4)
    assert objective.training


def test_classifiers_are_measured_on_the_classes_they_know():
    torch.manual_seed(0)
    encoder = build_encoder({"family": "classifier", "architecture": "densenet-tiny"}, channels=2, crop_size=32)
    objective = build_objective("classifier", encoder, Plan(), classes=3)
    crops = np.random.default_rng(0).integers(0, 256, (6, 2, 32, 32), dtype=np.uint8)
    with torch.no_grad():
        told = objective.eval().model(torch.from_numpy(crops)).argmax(1).numpy()
    labels = np.where(np.arange(6) < 4, told, -1)
    measured = Evaluation(crops, labels, seed=0, batch_size=4, device=CPU)(objective)
    assert measured["eval_accuracy"] == 1
    assert measured["eval_loss"] > 0
    nobody = Evaluation(crops, np.full(6, -1), seed=0, batch_size=4, device=CPU)(objective)
    assert set(nobody) == {"rankme"}


def test_with_adabn_statistics_come_from_the_crops_and_training_keeps_its_own():
    torch.manual_seed(0)
    encoder = build_encoder({"family": "classifier", "architecture": "densenet-tiny"}, channels=2, crop_size=16)
    objective = build_objective("classifier", encoder, Plan(), classes=3).train()
    crops = np.random.default_rng(0).integers(0, 40, (8, 2, 16, 16), dtype=np.uint8)
    labels = np.arange(8) % 3
    before = take_statistics(objective)
    adapted = Evaluation(crops, labels, seed=0, batch_size=8, device=CPU, adabn=True)(objective)
    assert all(torch.equal(*pair) for pair in zip(take_statistics(objective), before, strict=True))
    assert objective.training
    with torch.no_grad():
        logits = objective.model(torch.from_numpy(crops))  # in training, batch norm takes what the batch has
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).item()
    assert adapted["eval_loss"] == pytest.approx(expected, rel=1e-4)


def test_flat_crops_have_no_r2():
    encoder = ViTEncoder(SIZES["tiny"], channels=2, crop_size=32)
    objective = MaskedObjective(MaskedAutoencoder(encoder, mask_ratio=0.5), fourier_weight=0.0)
    measured = Evaluation(np.full((2, 2, 32, 32), 7, np.uint8), None, seed=0, batch_size=2, device=CPU)(objective)
    assert math.isnan(measured["eval_r2"])
