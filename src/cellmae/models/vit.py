"""The vision transformer of the paper's masked autoencoders, on timm's blocks."""

from collections.abc import Callable
from functools import partial
from typing import Self

import torch
from timm.models.vision_transformer import Block, ParallelScalingBlock
from torch import nn

from cellmae.models.architecture import Architecture
from cellmae.models.patches import SelfStandardise, sincos_positions, take_tokens, to_patches

LayerNorm = partial(nn.LayerNorm, eps=1e-6)
TOKEN_STD = 0.02  # of the class token's initial values

BLOCKS: dict[str, Callable[..., nn.Module]] = {"parallel": ParallelScalingBlock, "plain": Block}


class ViTEncoder(nn.Module):
    """Encoder of crops: self-standardisation, patches, a class token, and transformer blocks.

    As in Kraus et al. 2023 (arXiv 2309.16064) the blocks run attention and MLP in parallel, queries and keys are
    normalised, the projections to them have no bias, positions are fixed, and no norm follows the last block.

    Parameters
    ----------
    channels, crop_size, patch
        Shape of a crop, and the edge of a patch, in pixels.
    width, depth, heads
        Dimensions of the transformer.
    layer_scale, drop_path
        See :class:`cellmae.models.Architecture`.
    final_norm
        Normalise the tokens after the last block.
    embed_block
        How many blocks :meth:`embed` applies.
    block, qk_norm, qkv_bias
        ``parallel`` or ``plain`` timm blocks, and what they contain; the defaults are the paper's.
    """

    def __init__(
        self,
        *,
        channels: int,
        crop_size: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        layer_scale: float = 1e-4,
        drop_path: float = 0.0,
        final_norm: bool = False,
        embed_block: int | None = None,
        block: str = "parallel",
        qk_norm: bool = True,
        qkv_bias: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.crop_size, self.patch = channels, crop_size, patch
        self.dim = width
        self.embed_block = depth if embed_block is None else embed_block
        self.standardise = SelfStandardise()
        self.projection = nn.Linear(channels * patch * patch, width)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.register_buffer("positions", sincos_positions(crop_size // patch, width), persistent=False)
        rates = torch.linspace(0, drop_path, depth).tolist()
        self.blocks = nn.ModuleList(
            BLOCKS[block](
                width,
                heads,
                qkv_bias=qkv_bias,
                qk_norm=qk_norm,
                init_values=layer_scale or None,
                drop_path=rate,
                norm_layer=LayerNorm,
            )
            for rate in rates
        )
        self.norm = LayerNorm(width) if final_norm else nn.Identity()
        self.apply(initialise)
        nn.init.normal_(self.class_token, std=TOKEN_STD)

    @classmethod
    def from_architecture(cls, architecture: Architecture, *, channels: int, crop_size: int) -> Self:
        """Build the encoder that a configuration describes."""
        size = architecture.dimensions
        return cls(
            channels=channels,
            crop_size=crop_size,
            patch=architecture.patch,
            width=size.width,
            depth=size.depth,
            heads=size.heads,
            layer_scale=architecture.layer_scale,
            drop_path=architecture.drop_path,
            final_norm=architecture.final_norm,
            embed_block=architecture.embed_block,
        )

    @property
    def tokens(self) -> int:
        """Patches in a crop."""
        return (self.crop_size // self.patch) ** 2

    def patches(self, crops: torch.Tensor) -> torch.Tensor:
        """Standardise crops (batch, channels, y, x) and cut them into patches (batch, tokens, pixels)."""
        return to_patches(self.standardise(crops), self.patch)

    def forward(self, patches: torch.Tensor, visible: torch.Tensor | None = None) -> torch.Tensor:
        """Encode the patches (batch, tokens, pixels), or those at the indices ``visible`` (batch, count).

        Returns
        -------
        The class token and the patches' tokens, (batch, 1 + count, width).
        """
        return self.norm(self._blocks(patches, visible, len(self.blocks)))

    def embed(self, crops: torch.Tensor) -> torch.Tensor:
        """Embed crops (batch, channels, y, x) of 0 to 255 as the mean of their patch tokens, (batch, dim) float32.

        The final norm, where there is one, belongs to the last block alone.
        """
        tokens = self._blocks(self.patches(crops), None, self.embed_block)
        if self.embed_block == len(self.blocks):
            tokens = self.norm(tokens)
        return tokens[:, 1:].float().mean(dim=1)

    def _blocks(self, patches: torch.Tensor, visible: torch.Tensor | None, count: int) -> torch.Tensor:
        positions = self.positions
        if visible is not None:
            # Before the projection: what is masked costs nothing.
            patches, positions = take_tokens(patches, visible), take_tokens(positions, visible)
        tokens = self.projection(patches) + positions
        tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
        for block in self.blocks[:count]:
            tokens = block(tokens)
        return tokens


def initialise(module: nn.Module) -> None:
    """Give linear layers the initial values of He et al. 2022: Xavier uniform weights, zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
