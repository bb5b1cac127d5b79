from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cellmae.errors import ConfigError, DataError
from cellmae.models import SIZES, ViTEncoder
from cellmae.models.adabn import adapt_batch_norm, put_statistics, take_statistics
from cellmae.models.classifier import ClassifierEncoder
from cellmae.models.densenet import build_densenet

CHANNELS, CROP = 2, 32


class PlainEncoder(nn.Module):
    """Two batch norms, and nothing that would make up for stainings before them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.BatchNorm2d(CHANNELS), nn.Conv2d(CHANNELS, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )

    def embed(self, crops: torch.Tensor) -> torch.Tensor:
        return self.layers(crops.float()).flatten(1)


def densenet() -> ClassifierEncoder:
    torch.manual_seed(0)
    network = build_densenet("densenet-tiny", CHANNELS)
    return ClassifierEncoder(network, network.num_features, channels=CHANNELS, crop_size=CROP, neck=8).eval()


def cells(count: int, seed: int = 0) -> torch.Tensor:
    """Crops with a few bright blobs, uint8."""
    generator = torch.Generator().manual_seed(seed)
    dots = (torch.rand(count, CHANNELS, CROP, CROP, generator=generator) > 0.99).float()
    blobs = nn.functional.avg_pool2d(dots, 7, stride=1, padding=3) * 49 * 40
    return (20 + blobs + 10 * torch.rand(blobs.shape, generator=generator)).clamp(0, 120).to(torch.uint8)


def statistics(module: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for name, value in module.state_dict().items() if "running" in name])


def test_statistics_of_the_first_layer_are_those_of_all_crops():
    encoder, crops = PlainEncoder(), cells(10)
    adapt_batch_norm(encoder, crops.split([4, 1, 5]))
    pixels = crops.numpy().astype(np.float64).transpose(1, 0, 2, 3).reshape(CHANNELS, -1)
    first = encoder.layers[0]
    np.testing.assert_allclose(first.running_mean, pixels.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(first.running_var, pixels.var(axis=1), rtol=1e-6)


def test_later_layers_see_what_earlier_ones_make_of_their_batch():
    encoder, crops = PlainEncoder(), cells(8)
    adapt_batch_norm(encoder, crops.split(4))
    first, convolution, second = encoder.layers[:3]
    with torch.no_grad():
        seen = torch.cat([convolution(first.train()(part.float())) for part in crops.split(4)])
    torch.testing.assert_close(second.running_mean, seen.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(second.running_var, seen.var(dim=(0, 2, 3), correction=0), rtol=1e-4, atol=1e-5)


def test_after_one_batch_evaluation_repeats_training():
    encoder, crops = densenet(), cells(6)
    with torch.no_grad():
        expected = densenet().train().embed(crops)
        adapt_batch_norm(encoder, [crops])
        assert not any(part.training for part in encoder.modules())
        torch.testing.assert_close(encoder.embed(crops), expected, rtol=1e-4, atol=1e-4)


def test_cells_look_alike_under_two_stainings_once_adapted():
    encoder, crops = PlainEncoder().eval(), cells(8)
    gain, offset = torch.tensor([1.8, 0.6]).view(1, -1, 1, 1), torch.tensor([10.0, 25.0]).view(1, -1, 1, 1)
    stained = crops * gain + offset
    with torch.no_grad():
        before = [encoder.embed(batch) for batch in (crops, stained)]
        after = []
        for batch in (crops, stained):
            adapt_batch_norm(encoder, [batch])
            after.append(encoder.embed(batch))
    assert not torch.allclose(*before, rtol=0.1)
    torch.testing.assert_close(*after, rtol=1e-4, atol=1e-4)


def test_a_change_that_standardising_leaves_shifts_features_less_once_adapted():
    """Bleeding of one channel into the other, in other cells of a second batch."""
    encoder, first, second = densenet(), cells(16, seed=1), cells(16, seed=2)
    bled = torch.stack([second[:, 0], (second[:, 0] // 2 + second[:, 1] // 2)], dim=1)
    with torch.no_grad():
        adapt_batch_norm(encoder, [first])
        here = encoder.embed(first)
        unadapted = encoder.embed(bled)
        adapt_batch_norm(encoder, [bled])
        adapted = encoder.embed(bled)
    shifts = [(vectors.mean(dim=0) - here.mean(dim=0)).norm() for vectors in (unadapted, adapted)]
    assert shifts[1] < 0.3 * shifts[0]


def test_the_order_of_crops_and_what_was_learned_before_do_not_matter():
    encoder, crops = densenet(), cells(8)
    adapt_batch_norm(encoder, [crops])
    first = statistics(encoder)
    adapt_batch_norm(encoder, [cells(8, seed=5)])
    assert not torch.allclose(statistics(encoder), first, rtol=1e-2)
    adapt_batch_norm(encoder, [crops.flip(0)])
    torch.testing.assert_close(statistics(encoder), first, rtol=1e-4, atol=1e-5)


def test_adapting_twice_gives_the_same_numbers_and_leaves_weights_alone():
    encoder, crops = densenet(), cells(8)
    weights = [parameter.clone() for parameter in encoder.parameters()]
    adapt_batch_norm(encoder, crops.split(4))
    first = statistics(encoder)
    adapt_batch_norm(encoder, iter(crops.split(4)))
    assert torch.equal(statistics(encoder), first)
    assert all(torch.equal(*pair) for pair in zip(weights, encoder.parameters(), strict=True))
    assert not any(part._forward_pre_hooks for part in encoder.modules())


def test_models_without_batch_norm_are_refused():
    architecture = replace(SIZES["tiny"], width=16, depth=1, heads=2, patch=8)
    vit = ViTEncoder(architecture, channels=CHANNELS, crop_size=CROP)
    assert take_statistics(densenet())
    assert not take_statistics(vit)
    assert not take_statistics(nn.BatchNorm2d(2, track_running_stats=False))
    with pytest.raises(ConfigError, match=r"models\.adabn: .* no batch-norm layers"):
        adapt_batch_norm(vit, [cells(2)])


def test_no_crops_are_refused_and_change_nothing():
    encoder = densenet()
    before = statistics(encoder)
    with pytest.raises(DataError, match="no crops"):
        adapt_batch_norm(encoder, [])
    assert torch.equal(statistics(encoder), before)


def test_statistics_can_be_put_back():
    layer = nn.BatchNorm2d(2)
    before = take_statistics(layer)
    layer(torch.randn(4, 2, 3, 3))
    assert not torch.equal(layer.running_mean, before[0])
    put_statistics(layer, before)
    assert all(torch.equal(now, then) for now, then in zip(layer.buffers(), before, strict=True))
