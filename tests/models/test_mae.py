from dataclasses import replace

import pytest
import torch

from cellmae.errors import ConfigError
from cellmae.models import SIZES, MaskedAutoencoder, ViTEncoder
from cellmae.models.patches import take_tokens

SMALL = replace(SIZES["tiny"], width=16, depth=1, heads=2, decoder_width=8, decoder_depth=1, decoder_heads=2, patch=4)


def autoencoder(mask_ratio: float = 0.75) -> MaskedAutoencoder:
    torch.manual_seed(0)
    return MaskedAutoencoder(ViTEncoder(SMALL, channels=2, crop_size=16), mask_ratio=mask_ratio).eval()


@pytest.fixture
def crops() -> torch.Tensor:
    return torch.randint(0, 256, (3, 2, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.rand(3, 16, generator=torch.Generator().manual_seed(1))


def test_masked_patches_are_predicted_and_compared_with_what_they_are(crops, noise):
    model = autoencoder()
    made = model(crops, noise)
    assert made.prediction.shape == made.target.shape == (3, 12, 32)
    assert made.visible.shape == (3, 4)
    assert torch.equal(torch.cat([made.visible, made.masked], dim=1).sort(dim=1).values, torch.arange(16).expand(3, -1))
    assert (
        take_tokens(noise.unsqueeze(2), made.visible).amax((1, 2))
        < take_tokens(noise.unsqueeze(2), made.masked).amin((1, 2))
    ).all()
    assert torch.equal(made.target, take_tokens(model.encoder.patches(crops), made.masked))


def test_reconstructing_all_patches_agrees_with_training(crops, noise):
    model = autoencoder()
    made = model(crops, noise)
    everything = model.reconstruct(crops, noise)
    assert everything.shape == (3, 16, 32)
    torch.testing.assert_close(take_tokens(everything, made.masked), made.prediction)


def test_predictions_know_where_their_patch_lies(crops, noise):
    """With one and the same mask token for all, only positions can tell two masked patches apart."""
    prediction = autoencoder()(crops, noise).prediction
    assert not torch.allclose(prediction[:, 0], prediction[:, 1], atol=1e-3)


@pytest.mark.parametrize(("ratio", "seen"), [(0.75, 4), (0.25, 12), (0.7, 4)])
def test_share_that_is_seen(ratio, seen):
    assert autoencoder(ratio).seen == seen


@pytest.mark.parametrize("ratio", [0.99, 0.0])
def test_a_mask_of_all_or_nothing_is_refused(ratio):
    with pytest.raises(ConfigError, match=r"models\.mask_ratio"):
        autoencoder(ratio)
