import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cellmae.models import build_encoder
from cellmae.pretraining import Plan
from cellmae.pretraining.compute import flops_per_crop, training_flops
from cellmae.pretraining.objective import build_objective

SPECS = {
    "mae, tiny": {"family": "mae", "size": "tiny", "patch": 8},
    "mae, small": {"family": "mae", "size": "small", "patch": 16},
    "ca-mae": {"family": "ca-mae", "size": "tiny", "patch": 16},
    "munet": {"family": "munet", "size": "tiny", "patch": 8},
    "densenet": {"family": "classifier", "architecture": "densenet-tiny"},
    "densenet161": {"family": "classifier", "architecture": "densenet161"},
    "vit classifier": {"family": "classifier", "architecture": "vit", "size": "tiny", "patch": 16},
}


def objective(name, *, channels=6, crop_size=64):
    torch.manual_seed(0)
    encoder = build_encoder(SPECS[name], channels=channels, crop_size=crop_size)
    return build_objective(SPECS[name]["family"], encoder, Plan(), classes=10).eval()


def outcome(model, *inputs):
    """What the loss looks at."""
    found = model(*inputs)
    return getattr(found, "prediction", found)


@pytest.mark.parametrize("name", SPECS)
def test_operations_are_those_that_pytorch_counts(name):
    one = objective(name)
    for module in one.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # the fused one computes products twice
    with FlopCounterMode(display=False) as counter:
        outcome(one.model, *one.example(2)).sum().backward()
    assert flops_per_crop(one) == pytest.approx(counter.get_total_flops() / 2, rel=0.02)


@pytest.mark.parametrize("name", SPECS)
def test_a_training_is_counted_before_there_is_anything_to_train_on(name):
    spec = SPECS[name] | {"crops_total": 5000, "batch_size": 10}
    one = build_objective(spec["family"], objective(name).encoder, Plan.from_spec(spec), classes=1)
    assert training_flops(spec, channels=6, crop_size=64) == flops_per_crop(one) * 5000


def test_counting_leaves_no_trace():
    one = objective("mae, tiny")
    before = {name: value.clone() for name, value in one.state_dict().items()}
    flops_per_crop(one)
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())
    assert all(parameter.grad is None for parameter in one.parameters())
    assert not any(module._forward_hooks for module in one.modules())


@pytest.mark.slow
def test_a_large_model_of_large_crops_is_counted_at_once():
    """Published for the encoder of ViT-L/16: 61.6 GFLOP multiply-adds forwards, all 196 patches seen."""
    encoder = build_encoder({"family": "mae", "size": "large", "patch": 16}, channels=3, crop_size=224)
    one = build_objective("mae", encoder, Plan(), classes=0)
    masked = flops_per_crop(one)
    assert 2 * 61.6e9 * 3 / 4 < masked < 2 * 61.6e9 * 3


def test_operations_of_a_linear_layer_are_those_of_its_products():
    class Linear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = torch.nn.Linear(7, 5, bias=False)

        def example(self, count):
            return (torch.ones(count, 7),)

    # forward, and the gradient of the weights; nobody asks for that of the input
    assert flops_per_crop(Linear()) == 2 * (2 * 7 * 5)
