from dataclasses import replace

import pytest
import torch

from cellmae.errors import ConfigError, DataError
from cellmae.models import SIZES
from cellmae.models.channel_agnostic import ChannelAgnosticAutoencoder, ChannelAgnosticEncoder, CrossAttention
from cellmae.models.patches import take_tokens
from cellmae.pretraining.loss import ReconstructionLoss
from cellmae.pretraining.optimizers import is_matrix

SMALL = replace(SIZES["tiny"], width=16, depth=3, heads=2, decoder_width=16, decoder_depth=1, decoder_heads=2, patch=4)
TOKENS = 3 * 16  # three channels of 16 x 16 pixels


def encoder(architecture=SMALL, channels: int = 3, **options) -> ChannelAgnosticEncoder:
    torch.manual_seed(0)
    return ChannelAgnosticEncoder(architecture, channels=channels, crop_size=16, **options).eval()


def autoencoder(architecture=SMALL, mask_ratio: float = 0.75, **options) -> ChannelAgnosticAutoencoder:
    """With random channel tokens, which are zero at first."""
    model = ChannelAgnosticAutoencoder(encoder(architecture), mask_ratio=mask_ratio, **options).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for token in (model.mask_token, *model.channel_tokens):
            token.normal_(generator=generator)
    return model


def make_crops(channels: int, batch: int = 2, edge: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(channels)
    return torch.randint(0, 256, (batch, channels, edge, edge), dtype=torch.uint8, generator=generator)


@pytest.fixture
def crops() -> torch.Tensor:
    return make_crops(3)


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.rand(2, TOKENS, generator=torch.Generator().manual_seed(1))


def test_tokens_are_the_patches_of_channel_after_channel(crops):
    model = encoder()
    patches = model.patches(crops)
    assert patches.shape == (2, model.tokens, 16) == (2, TOKENS, 16)
    standardised = model.standardise(crops)
    torch.testing.assert_close(patches[1, 2 * 16 + 5].view(4, 4), standardised[1, 2, 4:8, 4:8])
    torch.testing.assert_close(model.to_images(patches), standardised)


def test_patches_of_some_channels_are_images_of_some_channels(crops):
    model = encoder()
    assert model.to_images(model.patches(crops)[:, :32]).shape == (2, 2, 16, 16)


def test_positions_repeat_from_channel_to_channel():
    rows = encoder().positions[0, 1:].view(11, 16, 16)
    assert torch.equal(rows, rows[:1].expand_as(rows))
    assert len(rows[0].unique(dim=0)) == 16


def test_embedding_is_the_mean_of_all_channels_patch_tokens(crops):
    model = encoder()
    tokens = model(model.patches(crops))
    assert tokens.shape == (2, 1 + TOKENS, 16)
    assert model.dim == 16
    torch.testing.assert_close(model.embed(crops), tokens[:, 1:].mean(dim=1))


def test_embedding_per_channel_is_a_mean_for_each(crops):
    model = encoder(per_channel=True)
    tokens = model(model.patches(crops))
    embedding = model.embed(crops)
    assert embedding.shape == (2, model.dim) == (2, 48)
    torch.testing.assert_close(embedding[:, 16:32], tokens[:, 17:33].mean(dim=1))
    torch.testing.assert_close(embedding.view(2, 3, 16).mean(dim=1), encoder().embed(crops))


@pytest.mark.parametrize("channels", [1, 2, 5, 11])
def test_other_numbers_of_channels_can_be_embedded(channels):
    model = encoder()
    assert model.embed(make_crops(channels)).shape == (2, 16)
    assert encoder(per_channel=True).embed(make_crops(channels)).shape == (2, 16 * channels)
    for block in model.embed_blocks(make_crops(channels)):
        assert block.shape == (2, 16)


def test_the_order_of_channels_is_the_order_of_their_embeddings(crops):
    """Attention sees a set: only the order of the concatenated means follows that of the channels."""
    order = [2, 0, 1]
    model = encoder(per_channel=True)
    expected = model.embed(crops).view(2, 3, 16)[:, order].flatten(1)
    torch.testing.assert_close(model.embed(crops[:, order]), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder().embed(crops[:, order]), encoder().embed(crops), rtol=1e-4, atol=1e-5)


def test_channels_are_seen_together(crops):
    """Another picture in one channel changes what is made of the others."""
    model = encoder(per_channel=True)
    changed = crops.clone()
    changed[:, 0] = make_crops(1)[:, 0]
    assert not torch.allclose(model.embed(changed)[:, 16:], model.embed(crops)[:, 16:], atol=1e-4)


@pytest.mark.parametrize("per_channel", [False, True])
def test_earlier_blocks_can_embed(crops, per_channel):
    architecture = replace(SMALL, final_norm=True)
    by_block = encoder(architecture, per_channel=per_channel).embed_blocks(crops)
    assert by_block.shape == (3, 2, 48 if per_channel else 16)
    for block in (1, 2, 3):
        one = encoder(replace(architecture, embed_block=block), per_channel=per_channel)
        torch.testing.assert_close(one.embed(crops), by_block[block - 1])
    torch.testing.assert_close(by_block[2].mean(dim=1), torch.zeros(2), rtol=0, atol=1e-5)


def test_an_encoder_of_one_channel_number_takes_the_weights_of_another(crops):
    source, target = encoder(channels=3), encoder(channels=5)
    target.load_state_dict(source.state_dict())
    assert torch.equal(target.embed(crops), source.embed(crops))


def test_more_channels_than_there_are_positions_for_are_refused():
    with pytest.raises(DataError, match="found 12 channels, expected 1 to 11"):
        encoder().embed(make_crops(12))
    assert encoder(channels=13).embed(make_crops(13)).shape == (2, 16)


def test_crops_of_another_size_are_refused():
    with pytest.raises(DataError, match="found 8 x 8 pixels, expected 16 x 16"):
        encoder().embed(make_crops(3, edge=8))


def test_masked_patches_of_all_channels_are_predicted_and_compared_with_what_they_are(crops, noise):
    model = autoencoder()
    made = model(crops, noise)
    assert model.seen == 12
    assert made.visible.shape == (2, 12)
    assert made.prediction.shape == made.target.shape == (2, 36, 16)
    assert torch.equal(
        torch.cat([made.visible, made.masked], dim=1).sort(dim=1).values, torch.arange(TOKENS).expand(2, -1)
    )
    assert torch.equal(made.target, take_tokens(model.encoder.patches(crops), made.masked))
    assert torch.equal(made.patches, model.encoder.patches(crops))
    everything = model.reconstruct(crops, noise)
    assert everything.shape == (2, TOKENS, 16)
    torch.testing.assert_close(take_tokens(everything, made.masked), made.prediction)


def test_masking_is_joint_and_leaves_channels_different_shares(noise):
    visible, _ = autoencoder().split(noise)
    seen = torch.nn.functional.one_hot(visible // 16, 3).sum(dim=1)
    assert (seen.sum(dim=1) == 12).all()
    assert (seen != 4).any()


def test_what_is_masked_is_not_seen(crops, noise):
    model = autoencoder()
    patches = model.encoder.patches(crops)
    visible, masked = model.split(noise)
    hidden = torch.zeros(2, TOKENS, dtype=torch.bool).scatter(1, masked, True).unsqueeze(2)
    with torch.no_grad():
        expected = model.encoder(patches, visible)
        assert torch.equal(model.encoder(patches.masked_fill(hidden, 9.0), visible), expected)


def test_channels_are_decoded_by_their_own_stacks(crops, noise):
    """The stack of one channel has a say in that channel's patches alone."""
    model = autoencoder()
    before = model.reconstruct(crops, noise).view(2, 3, 16, 16)
    with torch.no_grad():
        for parameter in model.stacks[1].parameters():
            parameter.add_(1)
    after = model.reconstruct(crops, noise).view(2, 3, 16, 16)
    assert torch.equal(after[:, ::2], before[:, ::2])
    assert not torch.allclose(after[:, 1], before[:, 1], atol=1e-2)


def test_channel_tokens_tell_the_decoder_which_channel_is_which(crops, noise):
    model = autoencoder()
    before = model.reconstruct(crops, noise)
    with torch.no_grad():
        model.channel_tokens[0].neg_()
    assert not torch.allclose(model.reconstruct(crops, noise)[:, 16:], before[:, 16:], atol=1e-4)


def test_predictions_know_where_their_patch_lies(crops, noise):
    prediction = autoencoder()(crops, noise).prediction
    assert not torch.allclose(prediction[:, 0], prediction[:, 1], atol=1e-3)


def test_single_tokens_are_spared_from_weight_decay():
    model = autoencoder()
    assert not any(is_matrix(token) for token in (model.mask_token, *model.channel_tokens, model.encoder.class_token))


def test_attention_step_by_step_is_fused_attention():
    torch.manual_seed(0)
    attention = CrossAttention(16, 8)
    queries, context = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    fused = attention(queries, context)
    attention.fused_attn = False
    torch.testing.assert_close(attention(queries, context), fused)


def test_every_parameter_is_initialised_and_trained(crops, noise):
    """Memory that is asked for and not filled holds NaN here."""
    torch.use_deterministic_algorithms(True)
    try:
        torch.utils.deterministic.fill_uninitialized_memory = True
        model = ChannelAgnosticAutoencoder(encoder(), mask_ratio=0.75)
        ReconstructionLoss(fourier_weight=0.01, patch=4)(model(crops, noise)).loss.backward()
    finally:
        torch.use_deterministic_algorithms(False)
    parameters = dict(model.named_parameters())
    assert not [name for name, parameter in parameters.items() if not parameter.isfinite().all()]
    assert not [name for name, parameter in parameters.items() if parameter.grad is None]


def test_training_reduces_the_loss(crops, noise):
    model = ChannelAgnosticAutoencoder(encoder(), mask_ratio=0.75).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    criterion = ReconstructionLoss(fourier_weight=0.01, patch=4)
    losses = []
    for _ in range(60):
        loss = criterion(model(crops, noise)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.slow
def test_a_step_compiles_to_one_graph(crops, noise):
    def gradients(compute):
        model.zero_grad()
        made = compute(crops, noise)
        ReconstructionLoss(fourier_weight=0.0, patch=4)(made).loss.backward()
        return made.prediction, model.stacks[2][0].attn.qkv.weight.grad, model.encoder.projection.weight.grad

    model = autoencoder(replace(SMALL, depth=1))
    expected = gradients(model)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for found, eager in zip(gradients(compiled), expected, strict=True):
        torch.testing.assert_close(found, eager, rtol=1e-4, atol=1e-6)
    embed = torch.compile(model.encoder.embed, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(embed(crops), model.encoder.embed(crops), rtol=1e-4, atol=1e-6)


def test_mixed_precision_stays_near_and_keeps_the_residual_stream_in_float32(crops, noise):
    model = autoencoder()
    streams = []
    model.stacks[0][0].register_forward_pre_hook(lambda _, inputs: streams.append(inputs[0].dtype))
    expected = model.reconstruct(crops, noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.reconstruct(crops, noise)
        assert model.encoder.embed(crops).dtype == torch.float32
    assert streams == [torch.float32] * 2
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize("ratio", [0.99, 0.0])
def test_a_mask_of_all_or_nothing_is_refused(ratio):
    with pytest.raises(ConfigError, match=r"models\.mask_ratio"):
        autoencoder(mask_ratio=ratio)


def test_a_decoder_that_its_heads_cannot_share_is_refused():
    with pytest.raises(ConfigError, match=r"models\.decoder_width: 12 is no multiple of 8"):
        autoencoder(replace(SMALL, decoder_width=12))


def test_other_channels_than_the_decoders_cannot_be_reconstructed(noise):
    model = autoencoder(channels=2)
    with pytest.raises(DataError, match="found 3 channels, expected 2"):
        model.reconstruct(make_crops(3), noise[:, :32])
    with pytest.raises(DataError, match="found 3 channels, expected 2"):
        model(make_crops(3), noise[:, :32])
    assert model.encoder.embed(make_crops(3)).shape == (2, 16)
    assert model(make_crops(2), noise[:, :32]).prediction.shape == (2, 24, 16)
