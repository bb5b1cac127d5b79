"""The vision transformer of the paper's masked autoencoders, on timm's blocks."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from timm.models.vision_transformer import Block, ParallelScalingBlock
from torch import nn

from cellmae.models.architecture import Architecture
from cellmae.models.drop_path import insert_drop_path
from cellmae.models.patches import Scale, SelfStandardise, from_patches, sincos_positions, take_tokens, to_patches

LayerNorm = partial(nn.LayerNorm, eps=1e-6)
TOKEN_STD = 0.02  # of the class token's initial values

BLOCKS: dict[str, Callable[..., nn.Module]] = {"parallel": ParallelScalingBlock, "plain": Block}


class ViTEncoder(nn.Module):
    """Encoder of crops: standardised pixels, patches, a class token, and transformer blocks.

    As in Kraus et al. 2023 (arXiv 2309.16064) the blocks run attention and MLP in parallel, queries and keys are
    normalised, the projections to them have no bias, positions are fixed, and no norm follows the last block.

    Parameters
    ----------
    architecture
        Dimensions of the encoder.
    channels, crop_size
        Number of channels, and edge of the crops in pixels.
    block, qk_norm, qkv_bias
        ``parallel`` or ``plain`` timm blocks, and what they contain; the defaults are the paper's.
    """

    positions: torch.Tensor

    def __init__(
        self,
        architecture: Architecture,
        *,
        channels: int,
        crop_size: int,
        block: str = "parallel",
        qk_norm: bool = True,
        qkv_bias: bool = False,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.channels, self.crop_size, self.patch = channels, crop_size, architecture.patch
        self.dim = architecture.width
        self.standardise = SelfStandardise() if architecture.self_standardise else Scale()
        self.projection = nn.Linear(channels * self.patch**2, self.dim)
        self.class_token = nn.Parameter(torch.empty(1, 1, self.dim))
        self.register_buffer("positions", sincos_positions(crop_size // self.patch, self.dim), persistent=False)
        self.blocks = nn.ModuleList(
            insert_drop_path(
                BLOCKS[block](
                    self.dim,
                    architecture.heads,
                    qkv_bias=qkv_bias,
                    qk_norm=qk_norm,
                    init_values=architecture.layer_scale or None,
                    norm_layer=LayerNorm,
                ),
                rate,
            )
            for rate in np.linspace(0, architecture.drop_path, architecture.depth).tolist()
        )
        self.norm = LayerNorm(self.dim) if architecture.final_norm else nn.Identity()
        self.apply(initialise)
        nn.init.normal_(self.class_token, std=TOKEN_STD)

    @property
    def tokens(self) -> int:
        """Patches in a crop."""
        return (self.crop_size // self.patch) ** 2

    def patches(self, crops: torch.Tensor) -> torch.Tensor:
        """Standardise crops (batch, channels, y, x) and cut them into patches (batch, tokens, pixels)."""
        return to_patches(self.standardise(crops), self.patch)

    def to_images(self, patches: torch.Tensor) -> torch.Tensor:
        """Put patches (batch, tokens, pixels) together to images (batch, channels, y, x)."""
        return from_patches(patches, self.patch, self.channels)

    def forward(self, patches: torch.Tensor, visible: torch.Tensor | None = None) -> torch.Tensor:
        """Encode the patches (batch, tokens, pixels), or those at the indices ``visible`` (batch, count).

        Returns
        -------
        The class token and the patches' tokens, (batch, 1 + count, width).
        """
        return self._encode(patches, visible, self.architecture.depth)

    def embed(self, crops: torch.Tensor) -> torch.Tensor:
        """Embed crops (batch, channels, y, x) of 0 to 255 as the mean of their patch tokens, (batch, dim) float32.

        The final norm, where there is one, belongs to the last block alone.
        """
        tokens = self._encode(self.patches(crops), None, self.architecture.embed_block or self.architecture.depth)
        return self.pool(tokens)

    def embed_blocks(self, crops: torch.Tensor) -> torch.Tensor:
        """Embed crops by every block, (depth, batch, dim) float32, as :meth:`embed` does with ``embed_block``."""
        tokens, pooled = self._tokens(self.patches(crops), None), []
        for block in self.blocks:
            tokens = block(tokens)
            pooled.append(self.pool(tokens))
        return torch.stack([*pooled[:-1], self.pool(self.norm(tokens))])

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        """Average the patches' tokens, without the class token: (batch, dim) float32."""
        return tokens[:, 1:].float().mean(dim=1)

    def _encode(self, patches: torch.Tensor, visible: torch.Tensor | None, depth: int) -> torch.Tensor:
        tokens = self._tokens(patches, visible)
        for block in self.blocks[:depth]:
            tokens = block(tokens)
        return self.norm(tokens) if depth == len(self.blocks) else tokens

    def _tokens(self, patches: torch.Tensor, visible: torch.Tensor | None) -> torch.Tensor:
        positions = self.positions
        if visible is not None:
            # Before the projection: what is masked costs nothing.
            patches, positions = take_tokens(patches, visible), take_tokens(positions, visible)
        tokens = self.projection(patches) + positions
        return torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)


def initialise(module: nn.Module) -> None:
    """Give linear layers the initial values of He et al. 2022: Xavier uniform weights, zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
