"""The masked autoencoder and its training against other people's code, with random weights and no downloads."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import ParallelScalingBlock
from timm.optim.lion import Lion
from torch import nn

from cellmae.models import SIZES, MaskedAutoencoder, ViTEncoder
from cellmae.models.masking import Reconstruction
from cellmae.pretraining.compilation import compiled
from cellmae.pretraining.loss import ReconstructionLoss
from cellmae.pretraining.objective import MaskedObjective
from cellmae.pretraining.optimizers import build_optimizer, set_schedule
from cellmae.pretraining.plan import Plan

CHANNELS, CROP, PATCH = 3, 32, 8
SMALL = replace(
    SIZES["tiny"], width=32, depth=2, heads=2, decoder_width=16, decoder_depth=1, decoder_heads=2, patch=PATCH
)


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter random values, norms and biases too, so that none can be mixed up unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter + 0.1 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def block_weights(prefix: str, block: nn.Module) -> dict[str, torch.Tensor]:
    """Name the weights of a timm block as Hugging Face does."""
    weights = {}
    for kind in ("weight", "bias"):
        projections = getattr(block.attn.qkv, kind).chunk(3)
        weights |= {f"{prefix}attention.{n}_proj.{kind}": w for n, w in zip("qkv", projections, strict=True)}
        for theirs, ours in {
            "attention.o_proj": block.attn.proj,
            "layernorm_before": block.norm1,
            "layernorm_after": block.norm2,
            "mlp.fc1": block.mlp.fc1,
            "mlp.fc2": block.mlp.fc2,
        }.items():
            weights[f"{prefix}{theirs}.{kind}"] = getattr(ours, kind)
    return weights


def pixels_last(rows: torch.Tensor) -> torch.Tensor:
    """Reorder the first dimension from (channel, y, x) to Hugging Face's (y, x, channel)."""
    return rows.unflatten(0, (CHANNELS, PATCH, PATCH)).movedim(0, 2).flatten(0, 2)


def hugging_face_weights(ours: MaskedAutoencoder) -> dict[str, torch.Tensor]:
    encoder = ours.encoder
    class_position = [torch.zeros(1, 1, width) for width in (encoder.dim, SMALL.decoder_width)]
    weights = {
        "vit.embeddings.cls_token": encoder.class_token,
        "vit.embeddings.position_embeddings": torch.cat([class_position[0], encoder.positions], dim=1),
        "vit.embeddings.patch_embeddings.projection.weight": encoder.projection.weight.unflatten(
            1, (CHANNELS, PATCH, PATCH)
        ),
        "vit.embeddings.patch_embeddings.projection.bias": encoder.projection.bias,
        "decoder.mask_token": ours.mask_token,
        "decoder.decoder_pos_embed": torch.cat([class_position[1], ours.positions], dim=1),
    }
    for kind in ("weight", "bias"):
        weights[f"vit.layernorm.{kind}"] = getattr(encoder.norm, kind)
        weights[f"decoder.decoder_embed.{kind}"] = getattr(ours.bridge, kind)
        weights[f"decoder.decoder_norm.{kind}"] = getattr(ours.norm, kind)
        weights[f"decoder.decoder_pred.{kind}"] = pixels_last(getattr(ours.head, kind))
    for number, block in enumerate(encoder.blocks):
        weights |= block_weights(f"vit.layers.{number}.", block)
    for number, block in enumerate(ours.blocks):
        weights |= block_weights(f"decoder.decoder_layers.{number}.", block)
    return {name: weight.detach().clone() for name, weight in weights.items()}


@pytest.fixture
def theirs_and_ours() -> tuple[nn.Module, MaskedAutoencoder]:
    transformers = pytest.importorskip("transformers", minversion="5.0")
    architecture = replace(SMALL, layer_scale=0.0, final_norm=True)
    encoder = ViTEncoder(architecture, channels=CHANNELS, crop_size=CROP, block="plain", qk_norm=False, qkv_bias=True)
    ours = randomised(MaskedAutoencoder(encoder, mask_ratio=0.75))
    theirs = transformers.ViTMAEForPreTraining(
        transformers.ViTMAEConfig(
            hidden_size=SMALL.width,
            num_hidden_layers=SMALL.depth,
            num_attention_heads=SMALL.heads,
            intermediate_size=4 * SMALL.width,
            decoder_hidden_size=SMALL.decoder_width,
            decoder_num_hidden_layers=SMALL.decoder_depth,
            decoder_num_attention_heads=SMALL.decoder_heads,
            decoder_intermediate_size=4 * SMALL.decoder_width,
            image_size=CROP,
            patch_size=PATCH,
            num_channels=CHANNELS,
            mask_ratio=0.75,
            norm_pix_loss=False,
            layer_norm_eps=1e-6,
        )
    ).eval()
    theirs.load_state_dict(hugging_face_weights(ours), strict=True)
    return theirs, ours


def test_loss_predictions_and_gradients_equal_hugging_face(theirs_and_ours):
    theirs, ours = theirs_and_ours
    generator = torch.Generator().manual_seed(1)
    crops = torch.randint(0, 256, (4, CHANNELS, CROP, CROP), generator=generator, dtype=torch.uint8)
    noise = torch.rand(4, 16, generator=generator)

    expected = theirs(pixel_values=ours.encoder.standardise(crops), noise=noise)
    reconstruction = ours(crops, noise)
    loss = ReconstructionLoss(fourier_weight=0.0, patch=PATCH)(reconstruction).loss
    torch.testing.assert_close(loss, expected.loss, rtol=1e-5, atol=0)

    logits = expected.logits.unflatten(2, (PATCH, PATCH, CHANNELS)).movedim(4, 2).flatten(2)
    torch.testing.assert_close(ours.reconstruct(crops, noise), logits, rtol=1e-4, atol=1e-5)

    expected.loss.backward()
    loss.backward()
    weights = theirs.vit.layers[0]
    qkv = torch.cat([getattr(weights.attention, f"{name}_proj").weight.grad for name in "qkv"])
    torch.testing.assert_close(ours.encoder.blocks[0].attn.qkv.weight.grad, qkv, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(
        ours.encoder.projection.weight.grad,
        theirs.vit.embeddings.patch_embeddings.projection.weight.grad.flatten(1),
        rtol=1e-4,
        atol=1e-7,
    )


def test_the_parallel_block_is_its_equation():
    """The block of the paper, written out: x + scale * (attention(norm(x)) + mlp(norm(x)))."""
    width, heads = SMALL.width, SMALL.heads
    encoder = randomised(ViTEncoder(SMALL, channels=CHANNELS, crop_size=CROP))
    block = encoder.blocks[0]
    assert isinstance(block, ParallelScalingBlock)
    tokens = torch.randn(2, 5, width, generator=torch.Generator().manual_seed(0))

    normed = block.in_norm(tokens)
    hidden, q, k, v = (normed @ block.in_proj.weight.T).split([4 * width, width, width, width], dim=2)
    q, k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in (q, k, v))
    weights = (block.q_norm(q) @ block.k_norm(k).mT / (width / heads) ** 0.5).softmax(-1)
    attended = block.attn_out_proj((weights @ v).transpose(1, 2).flatten(2))
    mlp = block.mlp_out_proj(nn.functional.gelu(hidden + block.mlp_bias))
    torch.testing.assert_close(block(tokens), tokens + block.ls.gamma * (attended + mlp), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("patch", [4, 5, 8, 16])
def test_fourier_term_equals_fft2(patch):
    generator = torch.Generator().manual_seed(patch)
    prediction, target = torch.randn(2, 3, 7, 2 * patch**2, generator=generator)
    nothing = torch.empty(0)
    terms = ReconstructionLoss(fourier_weight=0.3, patch=patch)(
        Reconstruction(prediction, target, nothing, nothing, nothing)
    )

    def magnitudes(patches):
        return torch.fft.fft2(patches.unflatten(2, (2, patch, patch))).abs()

    fourier = (magnitudes(prediction) - magnitudes(target)).abs().mean()
    mse = (prediction - target).square().mean()
    torch.testing.assert_close(terms.fourier, fourier, rtol=1e-5, atol=0)
    torch.testing.assert_close(terms.loss, 0.7 * mse + 0.3 * fourier, rtol=1e-5, atol=0)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_the_compiled_step_equals_the_step():
    """With the compiler that training uses, forward and backward."""
    torch.manual_seed(0)
    model = MaskedAutoencoder(ViTEncoder(SMALL, channels=CHANNELS, crop_size=CROP), mask_ratio=0.75)
    objective = MaskedObjective(randomised(model), fourier_weight=0.01)
    generator = torch.Generator().manual_seed(1)
    crops = torch.randint(0, 256, (4, CHANNELS, CROP, CROP), generator=generator, dtype=torch.uint8)
    inputs = (crops, *map(torch.from_numpy, objective.chance(0, 1, batch_size=4)))
    results = []
    for step in (objective, compiled(objective, True, torch.device("cpu"))):
        objective.zero_grad()
        loss, metrics = step(*inputs)
        loss.backward()
        gradients = torch.cat([parameter.grad.flatten() for parameter in objective.parameters()])
        results.append((loss.detach(), metrics, gradients))
    for eager, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, eager, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("cycle_momentum", [False, True])
@pytest.mark.parametrize("warmup", [0.1, 0.3])
def test_schedule_equals_one_cycle(cycle_momentum, warmup):
    plan = Plan(
        crops_total=200,
        batch_size=1,
        learning_rate=0.02,
        warmup=warmup,
        cycle_momentum=cycle_momentum,
        betas=(0.95, 0.9),
    )
    theirs = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=0.02, betas=(0.95, 0.9))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        theirs, max_lr=0.02, total_steps=plan.steps, pct_start=warmup, cycle_momentum=cycle_momentum
    )
    ours = [{"lr": 0.0, "betas": (0.0, 0.9)}]
    for step in range(plan.steps):
        set_schedule(ours, plan, step)
        assert ours[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-9)
        assert ours[0]["betas"] == pytest.approx(theirs.param_groups[0]["betas"], rel=1e-9)
        theirs.step()
        if step + 1 < plan.steps:
            schedule.step()


def test_lion_moves_as_its_paper_says():
    """Chen et al. 2023, algorithm 2, written out, against the optimizer that a plan builds."""
    model = nn.Linear(5, 3)
    plan = Plan(optimizer="lion", weight_decay=0.1, betas=(0.9, 0.95))
    optimizer = build_optimizer(model, plan)
    assert isinstance(optimizer, Lion)
    weights = [p.detach().numpy().astype(np.float64) for p in (model.weight, model.bias)]
    moments = [np.zeros_like(weight) for weight in weights]
    generator = torch.Generator().manual_seed(0)
    for step in range(50):
        rate = set_schedule(optimizer.param_groups, plan, step)
        model.zero_grad()
        inputs = torch.randn(4, 5, generator=generator)
        model(inputs).square().sum().backward()
        for place, (parameter, decay) in enumerate([(model.weight, 0.1), (model.bias, 0.0)]):
            gradient = parameter.grad.numpy().astype(np.float64)
            direction = np.sign(0.9 * moments[place] + 0.1 * gradient)
            weights[place] = weights[place] * (1 - rate * decay) - rate * direction
            moments[place] = 0.95 * moments[place] + 0.05 * gradient
        optimizer.step()
    np.testing.assert_allclose(model.weight.detach().numpy(), weights[0], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(model.bias.detach().numpy(), weights[1], rtol=1e-5, atol=1e-7)
