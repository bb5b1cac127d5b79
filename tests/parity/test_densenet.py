"""timm's DenseNet-161, which is built here, against torchvision's, with the same random weights."""

import pytest
import torch
from torch.nn import functional

from cellmae.models.densenet import build_densenet

torchvision = pytest.importorskip("torchvision")


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_features_are_those_of_torchvision(training):
    torch.manual_seed(0)
    ours, theirs = build_densenet("densenet161", 3), torchvision.models.densenet161(weights=None)
    generator = torch.Generator().manual_seed(1)
    weights = {name: randomised(value, generator) for name, value in theirs.state_dict().items()}
    theirs.load_state_dict(weights)
    assert ours.load_state_dict(
        {name: value for name, value in weights.items() if not name.startswith("classifier.")}, strict=True
    )
    pixels = torch.randn(2, 3, 64, 64, generator=generator)
    with torch.no_grad():
        found = ours.train(training)(pixels)
        expected = functional.relu(theirs.train(training).features(pixels)).mean(dim=(2, 3))
    assert found.shape == (2, 2208)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def randomised(value: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Change weights and statistics a little, norms too, so that none can be mixed up unnoticed."""
    if not value.is_floating_point():
        return value
    return value * (1 + 0.2 * torch.rand(value.shape, generator=generator)) + 0.01 * torch.rand(
        value.shape, generator=generator
    )
