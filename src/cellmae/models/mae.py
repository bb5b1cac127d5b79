"""The masked autoencoder: an encoder that sees some patches, and a decoder that guesses the others."""

import torch
from torch import nn

from cellmae.models.masking import MaskedModel, Reconstruction
from cellmae.models.patches import sincos_positions, take_tokens
from cellmae.models.vit import BLOCKS, LayerNorm, ViTEncoder, initialise


class MaskedAutoencoder(MaskedModel):
    """Masked autoencoder of He et al. 2022 with the encoder of Kraus et al. 2023 (arXiv 2309.16064).

    The decoder, a stack of plain timm blocks, has the dimensions that the encoder's architecture gives.

    Parameters
    ----------
    encoder
        Sees the patches that are left.
    mask_ratio
        Share of the patches that are masked; ``int(tokens * (1 - mask_ratio))`` are seen.

    Raises
    ------
    ConfigError
        No patch would be seen, or none masked.
    """

    positions: torch.Tensor

    def __init__(self, encoder: ViTEncoder, *, mask_ratio: float) -> None:
        super().__init__(encoder, tokens=encoder.tokens, mask_ratio=mask_ratio)
        architecture = encoder.architecture
        width = architecture.decoder_width
        self.bridge = nn.Linear(encoder.dim, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("positions", sincos_positions(encoder.crop_size // encoder.patch, width), persistent=False)
        self.blocks = nn.ModuleList(
            BLOCKS["plain"](width, architecture.decoder_heads, qkv_bias=True, norm_layer=LayerNorm)
            for _ in range(architecture.decoder_depth)
        )
        self.norm = LayerNorm(width)
        self.head = nn.Linear(width, encoder.channels * encoder.patch**2)
        for part in (self.bridge, self.blocks, self.head):
            part.apply(initialise)

    def forward(self, crops: torch.Tensor, noise: torch.Tensor) -> Reconstruction:
        """Mask crops and reconstruct what was masked, see :class:`MaskedModel`."""
        visible, masked = self.split(noise)
        patches = self.encoder.patches(crops)
        tokens = self._decode(self.encoder(patches, visible), visible, masked)
        # Only what counts for the loss is projected back to pixels.
        prediction = self.head(self.norm(tokens[:, 1 + self.seen :]))
        return Reconstruction(prediction, take_tokens(patches, masked), visible, masked, patches)

    def reconstruct(self, crops: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Predict all patches of masked crops, seen ones too, (batch, tokens, pixels)."""
        visible, masked = self.split(noise)
        tokens = self._decode(self.encoder(self.encoder.patches(crops), visible), visible, masked)
        in_order = torch.argsort(torch.cat([visible, masked], dim=1), dim=1)
        return take_tokens(self.head(self.norm(tokens[:, 1:])), in_order)

    def _decode(self, tokens: torch.Tensor, visible: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
        """Decode the encoder's tokens; returns those of the class, the visible and the masked patches.

        Nothing in the decoder depends on the order of its tokens, so they stay as the mask shuffled them.
        """
        tokens = self.bridge(tokens)
        seen = tokens[:, 1:] + take_tokens(self.positions, visible)
        guessed = self.mask_token + take_tokens(self.positions, masked)
        tokens = torch.cat([tokens[:, :1], seen, guessed], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens
