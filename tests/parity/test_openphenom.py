"""Reading OpenPhenom-S/16 against timm's own vision transformer and the released decoder written out.

The weights are random, of the published layout; every one has random values, positions, norms and biases too, so that
none can be mixed up unnoticed.
"""

import json
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import ParallelScalingBlock, VisionTransformer, vit_small_patch16_224
from torch import nn
from torch.nn import functional

from cellmae.models.channel_agnostic import ChannelAgnosticAutoencoder
from cellmae.models.openphenom import load_openphenom

pytestmark = pytest.mark.slow
CHANNELS, PATCHES, WIDTH, DECODER_WIDTH = 6, 256, 384, 512
TOLERANCE = 3e-6  # of the largest value, in float32
WEIGHTS = "model.safetensors"


def random_weights(layout: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Fill a layout at scales that keep activations near 1, scales of norms around 1, LayerScale's too."""
    generator = torch.Generator().manual_seed(0)
    weights = OrderedDict()
    for name, shape in layout.items():
        value = torch.randn(shape, generator=generator)
        if "norm" in name or name.endswith("gamma"):
            value = 0.2 * value + (0 if name.endswith("bias") else 1)
        elif name.endswith("weight"):
            value = value * value[0].numel() ** -0.5
        else:
            value = 0.5 * value
        weights[name] = value
    weights._metadata = {"": {"version": 1}}  # as modules add to what they save
    return weights


@pytest.fixture(scope="module")
def weights(test_data) -> dict[str, torch.Tensor]:
    return random_weights(json.loads((test_data / "expected" / "openphenom_s16_keys.json").read_text()))


@pytest.fixture(scope="module")
def checkpoint(weights, tmp_path_factory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("openphenom")
    (folder / "config.json").write_text(json.dumps({"model_type": "MAE", "mask_ratio": 0.75}))
    save_file(weights, folder / WEIGHTS)
    yield folder
    (folder / WEIGHTS).unlink()  # 700 MB, which pytest would keep for days


@pytest.fixture(scope="module")
def model(checkpoint) -> ChannelAgnosticAutoencoder:
    return load_openphenom(checkpoint, channels=CHANNELS)


@pytest.fixture(scope="module")
def backbone(weights) -> VisionTransformer:
    """A vision transformer of timm as the authors configure it, but of one channel and with a longer position table."""
    vit = vit_small_patch16_224(
        img_size=256,
        in_chans=1,
        num_classes=0,
        global_pool="avg",
        class_token=True,
        init_values=1e-4,
        qkv_bias=False,
        qk_norm=True,
        block_fn=ParallelScalingBlock,
    )
    prefix = "encoder.vit_backbone."
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    vit.pos_embed = nn.Parameter(torch.empty_like(own["pos_embed"]))
    vit.load_state_dict(own, strict=True)
    return vit.eval()


def make_crops(channels: int, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(channels)
    return torch.randint(0, 256, (batch, channels, 256, 256), dtype=torch.uint8, generator=generator)


def standardised(crops: torch.Tensor) -> torch.Tensor:
    return functional.instance_norm(crops.float() / 255, eps=1e-5)


def embedded_patches(backbone: VisionTransformer, crops: torch.Tensor) -> torch.Tensor:
    """Class token and patches of all channels with their positions, (batch, 1 + channels * 256, 384)."""
    images = standardised(crops)
    channels = [backbone.patch_embed(images[:, number : number + 1]) for number in range(images.shape[1])]
    tokens = torch.cat([backbone.cls_token.expand(len(crops), -1, -1), *channels], dim=1)
    return tokens + backbone.pos_embed[:, : tokens.shape[1]]


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()


def test_a_torch_archive_of_that_name_is_read_alike(model, weights, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "MAE", "mask_ratio": 0.75}))
    torch.save({"state_dict": weights}, tmp_path / WEIGHTS)
    found = load_openphenom(tmp_path, channels=CHANNELS).state_dict()
    (tmp_path / WEIGHTS).unlink()
    expected = model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("channels", [3, 6, 11])
@torch.inference_mode()
def test_embeddings_equal_timms_vision_transformer(model, backbone, channels):
    crops = make_crops(channels)
    tokens = backbone.norm(backbone.blocks(embedded_patches(backbone, crops)))
    assert_close(model.encoder.embed(crops), tokens[:, 1:].mean(dim=1))


@torch.inference_mode()
def test_embeddings_of_each_channel_and_block_equal_timms(checkpoint, backbone):
    crops = make_crops(3, batch=2)
    model = load_openphenom(checkpoint, channels=3, per_channel=True, embed_block=7)
    tokens, expected = embedded_patches(backbone, crops), []
    for block in backbone.blocks:
        tokens = block(tokens)
        means = [tokens[:, 1 + PATCHES * number :][:, :PATCHES].mean(dim=1) for number in range(3)]
        expected.append(torch.cat(means, dim=1))
    for found, mean in zip(model.encoder.embed_blocks(crops), expected, strict=True):
        assert_close(found, mean)
    assert_close(model.encoder.embed(crops), expected[6])


def linear(weights: dict[str, torch.Tensor], name: str, tokens: torch.Tensor) -> torch.Tensor:
    return functional.linear(tokens, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def norm(weights: dict[str, torch.Tensor], name: str, tokens: torch.Tensor) -> torch.Tensor:
    """As the released code makes the decoder's norms: without the small epsilon of the encoder's."""
    return functional.layer_norm(tokens, tokens.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-5)


def mlp(weights: dict[str, torch.Tensor], name: str, tokens: torch.Tensor) -> torch.Tensor:
    return linear(weights, f"{name}.fc2", functional.gelu(linear(weights, f"{name}.fc1", tokens)))


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, heads: int) -> torch.Tensor:
    """Attention of one sample's tokens (count, width), a head at a time."""
    out = [
        (q_head @ k_head.T / q_head.shape[1] ** 0.5).softmax(dim=1) @ v_head
        for q_head, k_head, v_head in zip(*(part.chunk(heads, dim=1) for part in (q, k, v)), strict=True)
    ]
    return torch.cat(out, dim=1)


def decode_channel(weights: dict[str, torch.Tensor], tokens: torch.Tensor, channel: int) -> torch.Tensor:
    """Pixels (256, 256) of a channel's patches, given one sample's tokens of all channels (1536, 512)."""
    own = tokens[PATCHES * channel :][:PATCHES]
    q = linear(weights, "decoder.cross_attention.q", norm(weights, "decoder.query_norm", own))
    context = norm(weights, "decoder.context_norm", tokens)
    k, v = linear(weights, "decoder.cross_attention.kv", context).split(DECODER_WIDTH, dim=1)
    x = linear(weights, "decoder.cross_attention.proj", attend(q, k, v, heads=8))
    x = x + mlp(weights, "decoder.mlp", norm(weights, "decoder.out_norm", x))
    for number in range(8):
        block = f"decoder.decoders.{channel}.{number}"
        q, k, v = linear(weights, f"{block}.attn.qkv", norm(weights, f"{block}.norm1", x)).split(DECODER_WIDTH, dim=1)
        x = x + linear(weights, f"{block}.attn.proj", attend(q, k, v, heads=16))
        x = x + mlp(weights, f"{block}.mlp", norm(weights, f"{block}.norm2", x))
    return linear(weights, "decoder_pred", x)


@torch.inference_mode()
def test_reconstructions_equal_the_released_decoder_written_out(model, backbone, weights):
    crops = make_crops(CHANNELS)
    noise = torch.rand(1, CHANNELS * PATCHES, generator=torch.Generator().manual_seed(1))
    visible = noise[0].argsort()[: CHANNELS * PATCHES // 4]

    tokens = embedded_patches(backbone, crops)
    latent = backbone.norm(backbone.blocks(torch.cat([tokens[:, :1], tokens[:, 1:][:, visible]], dim=1)))[0, 1:]
    tokens = weights["decoder.mask_token"][0].repeat(CHANNELS * PATCHES, 1)
    tokens[visible] = linear(weights, "encoder_decoder_proj", latent)
    tokens = tokens + weights["decoder.pos_embeddings"][0, 1:]
    for channel in range(CHANNELS):
        tokens[PATCHES * channel :][:PATCHES] += weights[f"decoder.modality_tokens.{channel}"][0]
    expected = torch.cat([decode_channel(weights, tokens, channel) for channel in range(CHANNELS)]).unsqueeze(0)

    assert_close(model.reconstruct(crops, noise), expected)
    made = model(crops, noise)
    hidden = noise[0].argsort()[CHANNELS * PATCHES // 4 :]
    assert torch.equal(made.masked[0], hidden)
    assert_close(made.prediction, expected[:, hidden])
    rows = standardised(crops).unfold(2, 16, 16).unfold(3, 16, 16).reshape(1, CHANNELS * PATCHES, 256)
    assert_close(made.target, rows[:, hidden])
