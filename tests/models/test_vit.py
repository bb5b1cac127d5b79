from dataclasses import replace

import pytest
import torch

from cellmae.models import SIZES, ViTEncoder

SMALL = replace(SIZES["tiny"], width=16, depth=3, heads=2, patch=4)


def encoder(architecture=SMALL, **options) -> ViTEncoder:
    torch.manual_seed(0)
    return ViTEncoder(architecture, channels=2, crop_size=16, **options).eval()


@pytest.fixture
def crops() -> torch.Tensor:
    return torch.randint(0, 256, (3, 2, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("size", "millions"), [("small", 22), ("base", 86), ("large", 304)])
def test_sizes_have_the_papers_parameters(size, millions):
    with torch.device("meta"):
        model = ViTEncoder(SIZES[size], channels=6, crop_size=256)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.03)


def test_every_parameter_is_initialised():
    """Memory that is asked for and not filled holds NaN here."""
    torch.use_deterministic_algorithms(True)
    try:
        torch.utils.deterministic.fill_uninitialized_memory = True
        model = encoder()
    finally:
        torch.use_deterministic_algorithms(False)
    unfilled = [name for name, parameter in model.named_parameters() if not parameter.isfinite().all()]
    assert not unfilled


def test_embedding_is_the_mean_of_patch_tokens_without_the_class_token(crops):
    model = encoder()
    tokens = model(model.patches(crops))
    assert tokens.shape == (3, 17, 16)
    torch.testing.assert_close(model.embed(crops), tokens[:, 1:].mean(dim=1))


def test_brightness_and_contrast_do_not_matter(crops):
    model = encoder()
    torch.testing.assert_close(model.embed(crops.float()), model.embed(40 + crops.float() / 2), rtol=1e-3, atol=1e-3)


def test_brightness_matters_where_it_shall(crops):
    model = encoder(replace(SMALL, self_standardise=False))
    assert model.patches(crops).max() == crops.max() / 255
    torch.testing.assert_close(model.embed(crops), model.embed(crops.float()))
    assert (model.embed(crops) - model.embed(crops.float() / 2)).abs().max() > 0.01


def test_earlier_blocks_can_embed(crops):
    first = encoder(replace(SMALL, embed_block=1, final_norm=True))
    patches = first.projection(first.patches(crops)) + first.positions
    tokens = first.blocks[0](torch.cat([first.class_token.expand(3, -1, -1), patches], dim=1))
    torch.testing.assert_close(first.embed(crops), tokens[:, 1:].mean(dim=1))


def test_every_block_embeds_as_if_it_were_chosen(crops):
    blocks = encoder(replace(SMALL, final_norm=True)).embed_blocks(crops)
    chosen = [encoder(replace(SMALL, final_norm=True, embed_block=block)).embed(crops) for block in (1, 2, 3)]
    torch.testing.assert_close(blocks, torch.stack(chosen))


def test_final_norm_follows_the_last_block(crops):
    torch.testing.assert_close(
        encoder(replace(SMALL, final_norm=True)).embed(crops).mean(dim=1), torch.zeros(3), rtol=0, atol=1e-5
    )


def test_only_visible_patches_are_encoded(crops):
    model = encoder()
    patches = model.patches(crops)
    visible = torch.tensor([[3, 0], [15, 1], [7, 8]])
    tokens = model(patches, visible)
    hidden = torch.ones(3, 16, dtype=torch.bool).scatter(1, visible, False)
    assert torch.equal(model(patches.masked_fill(hidden.unsqueeze(2), 9.0), visible), tokens)
    assert tokens.shape == (3, 3, 16)


def test_drop_path_grows_with_depth():
    model = encoder(replace(SMALL, drop_path=0.4))
    rates = [getattr(block.drop_path, "rate", 0.0) for block in model.blocks]
    assert rates == pytest.approx([0, 0.2, 0.4])
