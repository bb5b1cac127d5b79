import pytest
import torch

from cellmae.errors import ConfigError
from cellmae.models.architecture import UNET_SIZES
from cellmae.models.munet import MaskedUNet, UNetEncoder
from cellmae.models.patches import to_patches
from cellmae.pretraining.loss import ReconstructionLoss

CHANNELS, CROP, PATCH = 2, 32, 8
TOKENS = (CROP // PATCH) ** 2


def autoencoder(mask_ratio: float = 0.75) -> MaskedUNet:
    torch.manual_seed(0)
    return MaskedUNet(UNetEncoder("tiny", CHANNELS, CROP, PATCH), mask_ratio=mask_ratio).eval()


@pytest.fixture
def crops() -> torch.Tensor:
    shape = (3, CHANNELS, CROP, CROP)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.rand(3, TOKENS, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("size", "millions", "tolerance"), [("medium", 40, 0.05), ("large", 100, 0.05)])
def test_sizes_have_the_parameters_that_they_promise(size, millions, tolerance):
    with torch.device("meta"):
        model = MaskedUNet(UNetEncoder(size, 6, 256, 16), mask_ratio=0.75)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=tolerance)


def test_the_tiny_size_has_less_than_a_million_parameters():
    model = MaskedUNet(UNetEncoder("tiny", 6, 64, 16), mask_ratio=0.75)
    assert sum(p.numel() for p in model.parameters()) < 1e6


@pytest.mark.parametrize("size", UNET_SIZES)
def test_every_size_sees_and_predicts_whole_crops(size):
    with torch.device("meta"):
        model = MaskedUNet(UNetEncoder(size, 5, 96, 16), mask_ratio=0.75)
        made = model(torch.zeros(2, 5, 96, 96, dtype=torch.uint8), torch.zeros(2, 36))
        assert model.encoder.embed(torch.zeros(2, 5, 96, 96)).shape == (2, model.encoder.dim)
    assert made.prediction.shape == (2, 27, 5 * 16**2)
    assert made.patches.shape == (2, 36, 5 * 16**2)


def test_masked_patches_are_predicted_and_compared_with_what_they_are(crops, noise):
    model = autoencoder()
    made = model(crops, noise)
    patches = to_patches(model.encoder.standardise(crops), PATCH)
    assert model.seen == 4
    assert made.prediction.shape == made.target.shape == (3, 12, CHANNELS * PATCH**2)
    assert torch.equal(
        torch.cat([made.visible, made.masked], dim=1).sort(dim=1).values, torch.arange(TOKENS).expand(3, -1)
    )
    assert torch.equal(made.patches, patches)
    for row in range(3):
        assert noise[row, made.visible[row]].max() < noise[row, made.masked[row]].min()
        assert torch.equal(made.target[row], patches[row, made.masked[row]])


def test_reconstructing_all_patches_agrees_with_training(crops, noise):
    model = autoencoder()
    made, everything = model(crops, noise), model.reconstruct(crops, noise)
    assert everything.shape == (3, TOKENS, CHANNELS * PATCH**2)
    for row in range(3):
        torch.testing.assert_close(everything[row, made.masked[row]], made.prediction[row])


def test_what_is_masked_does_not_reach_the_prediction(crops, noise):
    """Masked pixels are exchanged within themselves, which leaves the crop's mean and deviation as they are."""
    model = autoencoder()
    _, masked = model.split(noise)
    patches = to_patches(crops, PATCH)
    shuffled = patches.clone()
    for row in range(3):
        shuffled[row, masked[row]] = patches[row, masked[row].flip(0)]
    other = model.encoder.to_images(shuffled)
    assert not torch.equal(other, crops)
    torch.testing.assert_close(model.reconstruct(other, noise), model.reconstruct(crops, noise), rtol=1e-4, atol=1e-5)


def test_a_masked_patch_differs_from_a_flat_one():
    model = autoencoder()
    flat = torch.zeros(1, CHANNELS, CROP, CROP)
    hidden = torch.ones(1, 1, CROP, CROP)
    assert not torch.allclose(model.encoder(flat)[-1], model.encoder(flat, hidden)[-1], atol=1e-3)


def test_the_mask_covers_whole_patches_where_the_indices_say():
    model = autoencoder()
    visible = torch.tensor([[5, 2, 0, 15]])
    hidden = model._hidden(torch.zeros(1, CHANNELS, CROP, CROP), visible)
    assert hidden.shape == (1, 1, CROP, CROP)
    seen = to_patches(hidden, PATCH).amax(dim=2)[0] == 0
    assert seen.nonzero().flatten().tolist() == [0, 2, 5, 15]
    assert hidden.mean() == 12 / 16


def test_embedding_is_the_mean_over_the_bottleneck_of_the_unmasked_crop(crops):
    encoder = autoencoder().encoder
    bottleneck = encoder(encoder.standardise(crops), torch.zeros(3, 1, CROP, CROP))[-1]
    assert bottleneck.shape == (3, encoder.dim, 2, 2)
    torch.testing.assert_close(encoder.embed(crops), bottleneck.mean(dim=(2, 3)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert encoder.embed(crops).dtype == torch.float32


def test_crops_of_a_batch_do_not_see_each_other(crops):
    encoder = autoencoder().encoder
    torch.testing.assert_close(encoder.embed(crops)[1:2], encoder.embed(crops[1:2]), rtol=1e-4, atol=1e-5)


def test_brightness_and_contrast_do_not_matter(crops):
    encoder = autoencoder().encoder
    torch.testing.assert_close(encoder.embed(crops), encoder.embed(40 + crops.float() / 2), rtol=1e-3, atol=1e-3)


def test_patches_and_images_are_inverse(crops):
    encoder = autoencoder().encoder
    torch.testing.assert_close(encoder.to_images(encoder.patches(crops)), encoder.standardise(crops))


def test_every_parameter_takes_part_in_training(crops, noise):
    model = autoencoder().train()
    ReconstructionLoss(fourier_weight=0.01, patch=PATCH)(model(crops, noise)).loss.backward()
    unused = [
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert not unused


def test_a_few_steps_lower_the_loss(crops, noise):
    model = autoencoder().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        made = model(crops, noise)
        loss = (made.prediction - made.target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("autocast", [False, True])
def test_training_is_repeated_bit_for_bit(crops, noise, autocast):
    gradients = []
    for _ in range(2):
        model = autoencoder().train()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = ReconstructionLoss(fourier_weight=0.01, patch=PATCH)(model(crops, noise)).loss
        loss.backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    assert torch.equal(*gradients)
    assert gradients[0].isfinite().all()


@pytest.mark.slow
def test_the_whole_step_is_one_graph(crops, noise):
    model = autoencoder()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for ours, theirs in zip(model(crops, noise), compiled(crops, noise), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_weights_can_be_saved_and_loaded(crops):
    original = autoencoder().encoder
    torch.manual_seed(1)
    other = UNetEncoder("tiny", CHANNELS, CROP, PATCH).eval()
    assert not torch.allclose(other.embed(crops), original.embed(crops))
    other.load_state_dict(original.state_dict())
    assert torch.equal(other.embed(crops), original.embed(crops))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tiny", 2, 40, 8), r"tiles\.size: found 40.* multiple of 16"),
        (("medium", 2, 48, 8), r"tiles\.size: found 48.* multiple of 32"),
        (("tiny", 2, 48, 10), r"models\.patch: 10 does not divide"),
        (("huge", 2, 48, 8), r"models\.size: 'huge' is unknown; one of tiny, medium, large"),
    ],
)
def test_what_cannot_be_built_names_its_key(arguments, message):
    with pytest.raises(ConfigError, match=message):
        UNetEncoder(*arguments)


@pytest.mark.parametrize("ratio", [0.99, 0.0])
def test_a_mask_of_all_or_nothing_is_refused(ratio):
    with pytest.raises(ConfigError, match=r"models\.mask_ratio"):
        autoencoder(ratio)
