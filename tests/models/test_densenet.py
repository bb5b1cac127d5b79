import pytest
import torch

from cellmae.errors import ConfigError
from cellmae.models.densenet import build_densenet


@pytest.mark.parametrize(("name", "features", "below"), [("densenet161", 2208, 27e6), ("densenet-tiny", 69, 0.3e6)])
def test_features_are_pooled_and_as_many_as_it_says(name, features, below):
    with torch.device("meta"):
        network = build_densenet(name, 6).eval()
        assert network(torch.zeros(2, 6, 64, 64)).shape == (2, features)
    assert network.num_features == features
    assert sum(parameter.numel() for parameter in network.parameters()) < below


def test_weights_follow_the_random_seed():
    first, second, other = (build(seed) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def build(seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.cat([parameter.detach().flatten() for parameter in build_densenet("densenet-tiny", 2).parameters()])


def test_other_names_are_refused():
    with pytest.raises(ConfigError, match=r"models\.architecture: 'densenet7' .* densenet161, densenet-tiny"):
        build_densenet("densenet7", 3)
