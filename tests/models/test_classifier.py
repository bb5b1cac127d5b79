from dataclasses import replace

import pytest
import torch

from cellmae.models import SIZES, ViTEncoder
from cellmae.models.classifier import Classifier, ClassifierEncoder, ViTBackbone
from cellmae.models.densenet import build_densenet

CHANNELS, CROP, CLASSES = 2, 64, 5
VIT = replace(SIZES["tiny"], width=16, depth=2, heads=2, patch=16)


def build(backbone: str, neck: int = 8) -> ClassifierEncoder:
    torch.manual_seed(0)
    if backbone == "vit":
        network, features = ViTBackbone(ViTEncoder(VIT, channels=CHANNELS, crop_size=CROP)), VIT.width
    else:
        network = build_densenet(backbone, CHANNELS)
        features = network.num_features
    return ClassifierEncoder(network, features, channels=CHANNELS, crop_size=CROP, neck=neck).eval()


@pytest.fixture
def crops() -> torch.Tensor:
    shape = (6, CHANNELS, CROP, CROP)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("backbone", ["densenet-tiny", "vit"])
def test_the_neck_is_the_embedding_and_classes_are_linear_in_it(crops, backbone):
    classifier = Classifier(build(backbone), CLASSES).eval()
    embedding = classifier.encoder.embed(crops)
    assert embedding.shape == (6, classifier.encoder.dim) == (6, 8)
    assert embedding.dtype == torch.float32
    logits = classifier(crops)
    torch.testing.assert_close(logits, embedding @ classifier.head.weight.T + classifier.head.bias)
    assert logits.shape == (6, CLASSES)


def test_the_neck_is_as_wide_as_the_papers_unless_told_otherwise():
    encoder = ClassifierEncoder(torch.nn.Flatten(), 4, channels=1, crop_size=2)
    assert encoder.dim == 128
    assert encoder.embed(torch.zeros(3, 1, 2, 2, dtype=torch.uint8)).shape == (3, 128)


@pytest.mark.parametrize("backbone", ["densenet-tiny", "vit"])
def test_brightness_and_contrast_do_not_matter(crops, backbone):
    encoder = build(backbone)
    torch.testing.assert_close(encoder.embed(crops), encoder.embed(40 + crops.float() / 2), rtol=1e-3, atol=1e-3)


def test_a_transformer_embeds_through_the_neck_what_it_embeds_alone(crops):
    """Its crops are standardised once, not twice."""
    encoder = build("vit")
    torch.testing.assert_close(encoder.embed(crops), encoder.neck(encoder.backbone.vit.embed(crops)))


@pytest.mark.parametrize("backbone", ["densenet-tiny", "vit"])
def test_every_parameter_takes_part_in_training(crops, backbone):
    classifier = Classifier(build(backbone), CLASSES).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = torch.nn.functional.cross_entropy(classifier(crops).float(), torch.arange(6) % CLASSES)
    loss.backward()
    unused = [name for name, p in classifier.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not unused


def test_a_few_steps_tell_stripes_from_squares():
    """Two patterns that self-standardisation leaves apart, each at random phases and in noise."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(16) % 2
    along, across = torch.meshgrid(torch.arange(CROP), torch.arange(CROP), indexing="ij")
    shifts = torch.randint(0, 8, (16, 2), generator=generator)
    crops = torch.stack(
        [
            (((along + y) // 4 % 2) * (1 if label else (across + x) // 4 % 2)) * 120.0
            for label, (y, x) in zip(labels, shifts, strict=True)
        ]
    )
    crops = crops[:, None] + 60 * torch.rand(16, CHANNELS, CROP, CROP, generator=generator)
    classifier = Classifier(build("densenet-tiny"), 2).train()
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=3e-3)
    for _ in range(25):
        loss = torch.nn.functional.cross_entropy(classifier(crops), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.2
    assert (classifier(crops).argmax(dim=1) == labels).all()


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["densenet-tiny", "vit"])
def test_training_is_one_graph(crops, backbone):
    classifier = Classifier(build(backbone), CLASSES).eval()
    compiled = torch.compile(classifier, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(classifier(crops), compiled(crops))


@pytest.mark.parametrize("backbone", ["densenet-tiny", "vit"])
def test_weights_follow_the_seed_and_can_be_loaded(crops, backbone):
    first, second = build(backbone), build(backbone)
    assert torch.equal(first.embed(crops), second.embed(crops))
    with torch.no_grad():
        for parameter in second.parameters():
            parameter += 1
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.embed(crops), second.embed(crops))
