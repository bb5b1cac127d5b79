import numpy as np
import pytest
import torch

from cellmae.models import SIZES, MaskedAutoencoder, ViTEncoder, build_encoder
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
