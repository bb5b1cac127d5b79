"""What all masked models have in common: an encoder that sees some patches, and a guess of the others."""

from typing import Any, NamedTuple

import torch
from torch import nn

from cellmae.models.architecture import seen_tokens


class Reconstruction(NamedTuple):
    """What a masked model makes of a batch.

    Attributes
    ----------
    prediction, target
        Masked patches as predicted and as they are, standardised, (batch, masked, pixels).
    visible, masked
        Indices of the patches that were seen, (batch, seen), and of those that were not, (batch, masked).
    patches
        All patches, standardised, (batch, tokens, pixels).
    """

    prediction: torch.Tensor
    target: torch.Tensor
    visible: torch.Tensor
    masked: torch.Tensor
    patches: torch.Tensor


class MaskedModel(nn.Module):
    """A model that is trained to reconstruct what is masked.

    Parameters
    ----------
    encoder
        Sees the patches that are left, and is what embeds in the end.
    tokens
        Patches of a crop that are masked or seen.
    mask_ratio
        Share of them that are masked; ``int(tokens * (1 - mask_ratio))`` are seen.

    Raises
    ------
    ConfigError
        No patch would be seen, or none masked.
    """

    def __init__(self, encoder: nn.Module, *, tokens: int, mask_ratio: float) -> None:
        super().__init__()
        self.encoder: Any = encoder
        self.seen = seen_tokens(tokens, mask_ratio)

    def forward(self, crops: torch.Tensor, noise: torch.Tensor) -> Reconstruction:
        """Mask crops and reconstruct what was masked.

        Parameters
        ----------
        crops
            (batch, channels, y, x) of 0 to 255.
        noise
            (batch, tokens); the patches with the smallest values are seen.
        """
        raise NotImplementedError

    def reconstruct(self, crops: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Predict all patches of masked crops, seen ones too, (batch, tokens, pixels); arguments as of forward.

        Training does not ask how well the patches that are seen come out.
        """
        raise NotImplementedError

    def split(self, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the indices of the patches that are seen and of those that are masked."""
        order = torch.argsort(noise, dim=1)
        return order[:, : self.seen], order[:, self.seen :]
