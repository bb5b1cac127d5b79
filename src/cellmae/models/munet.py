"""A U-Net trained as a masked autoencoder: what is masked is zero in its input, and the image is its output."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from cellmae.models.architecture import read_unet
from cellmae.models.masking import MaskedModel, Reconstruction
from cellmae.models.patches import SelfStandardise, from_patches, take_tokens, to_patches

GROUPS = 8  # of a group norm; every width is a multiple of it


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each after a group norm and GELU, around which the input is carried.

    The order is that of He et al. 2016 (arXiv 1603.05027). Group norm (Wu & He 2018, arXiv 1803.08494) sees one
    crop at a time, so that neither the size of a batch nor its division over processes matters.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = nn.GroupNorm(GROUPS, width), nn.GroupNorm(GROUPS, width)
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Turn features (batch, width, y, x) into others of the same shape."""
        change = self.first(functional.gelu(self.first_norm(features)))
        return features + self.second(functional.gelu(self.second_norm(change)))


class UNetEncoder(nn.Module):
    """The way down of a U-Net: self-standardisation, then levels of residual blocks with strided convolutions between.

    A crop's embedding is the mean over the pixels of the bottleneck.

    Parameters
    ----------
    size
        A key of :data:`cellmae.models.architecture.UNET_SIZES`.
    channels, crop_size
        Number of channels, and edge of the crops in pixels.
    patch
        Edge in pixels of what is masked as a whole.

    Raises
    ------
    ConfigError
        The size is unknown, or it or the patch does not divide the crops.
    """

    def __init__(self, size: str, channels: int, crop_size: int, patch: int) -> None:
        super().__init__()
        self.size = read_unet({"size": size, "patch": patch}, crop_size=crop_size)
        widths = self.size.widths
        self.channels, self.crop_size, self.patch = channels, crop_size, patch
        self.dim = widths[-1]
        self.standardise = SelfStandardise()
        self.entry = nn.Conv2d((channels + 1) * self.size.entry**2, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(
            blocks_of(width, count) for width, count in zip(widths, self.size.blocks, strict=True)
        )
        self.downs = nn.ModuleList(nn.Conv2d(above, below, 2, stride=2) for above, below in pairwise(widths))

    @property
    def tokens(self) -> int:
        """Patches in a crop."""
        return (self.crop_size // self.patch) ** 2

    def patches(self, crops: torch.Tensor) -> torch.Tensor:
        """Standardise crops (batch, channels, y, x) and cut them into patches (batch, tokens, pixels)."""
        return to_patches(self.standardise(crops), self.patch)

    def to_images(self, patches: torch.Tensor) -> torch.Tensor:
        """Put patches (batch, tokens, pixels) together as images (batch, channels, y, x)."""
        return from_patches(patches, self.patch, self.channels)

    def forward(self, pixels: torch.Tensor, hidden: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Encode standardised crops.

        Parameters
        ----------
        pixels
            (batch, channels, y, x), self-standardised; what is hidden is not looked at.
        hidden
            (batch, 1, y, x), 1 where a pixel is masked and 0 elsewhere; None masks nothing. A channel of its own
            tells a masked patch from one that is flat.

        Returns
        -------
        The outcome of each level, (batch, width, y, x), the bottleneck last.
        """
        if hidden is None:
            hidden = torch.zeros_like(pixels[:, :1])
        # 0 is the mean of a standardised channel.
        seen = torch.cat([pixels * (1 - hidden), hidden], dim=1)
        outcomes = [self.levels[0](self.entry(functional.pixel_unshuffle(seen, self.size.entry)))]
        for down, level in zip(self.downs, self.levels[1:], strict=True):
            outcomes.append(level(down(outcomes[-1])))
        return outcomes

    def embed(self, crops: torch.Tensor) -> torch.Tensor:
        """Embed crops (batch, channels, y, x) of 0 to 255 as the mean over the bottleneck, (batch, dim) float32."""
        return self(self.standardise(crops))[-1].float().mean(dim=(2, 3))


class MaskedUNet(MaskedModel):
    """U-Net (Ronneberger et al. 2015, arXiv 1505.04597) as a masked autoencoder, the MU-net of Kraus et al. 2023.

    That paper (arXiv 2309.16064) names its MU-nets without describing them: masked pixels go in, the image comes out.
    Here patches are masked whole, in all channels, as for the transformers, and the blocks, their number and their
    widths are our own choice. The skip connections carry nothing that is hidden, for it is zero in the input.

    Parameters
    ----------
    encoder
        The way down; the way up mirrors it.
    mask_ratio
        Share of the patches that are masked; ``int(tokens * (1 - mask_ratio))`` are seen.

    Raises
    ------
    ConfigError
        No patch would be seen, or none masked.
    """

    def __init__(self, encoder: UNetEncoder, *, mask_ratio: float) -> None:
        super().__init__(encoder, tokens=encoder.tokens, mask_ratio=mask_ratio)
        widths, blocks = encoder.size.widths, encoder.size.blocks
        upwards = [(widths[i + 1], widths[i], blocks[i]) for i in reversed(range(len(widths) - 1))]
        # Channels are reduced before upsampling, where pixels are few.
        self.ups = nn.ModuleList(nn.Conv2d(below, width, 1) for below, width, _ in upwards)
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2 * width, width, 1), *blocks_of(width, count)) for _, width, count in upwards
        )
        self.norm = nn.GroupNorm(GROUPS, widths[0])
        self.head = nn.Conv2d(widths[0], encoder.channels * encoder.size.entry**2, 3, padding=1)

    def forward(self, crops: torch.Tensor, noise: torch.Tensor) -> Reconstruction:
        """Mask crops and reconstruct what was masked, see :class:`MaskedModel`."""
        visible, masked = self.split(noise)
        pixels = self.encoder.standardise(crops)
        patches = to_patches(pixels, self.encoder.patch)
        predicted = to_patches(self._predict(pixels, visible), self.encoder.patch)
        return Reconstruction(take_tokens(predicted, masked), take_tokens(patches, masked), visible, masked, patches)

    def reconstruct(self, crops: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Predict all patches of masked crops, seen ones too, (batch, tokens, pixels)."""
        visible, _ = self.split(noise)
        return to_patches(self._predict(self.encoder.standardise(crops), visible), self.encoder.patch)

    def _predict(self, pixels: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """Predict images (batch, channels, y, x) from the visible patches of standardised ones."""
        outcomes = self.encoder(pixels, self._hidden(pixels, visible))
        features = outcomes[-1]
        for up, level, skip in zip(self.ups, self.levels, reversed(outcomes[:-1]), strict=True):
            upsampled = functional.interpolate(up(features), scale_factor=2.0, mode="nearest")
            features = level(torch.cat([upsampled, skip], dim=1))
        return functional.pixel_shuffle(self.head(functional.gelu(self.norm(features))), self.encoder.size.entry)

    def _hidden(self, pixels: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """Return a plane (batch, 1, y, x) of 1 where pixels are masked and 0 where they are seen."""
        edge, patch = self.encoder.crop_size // self.encoder.patch, self.encoder.patch
        hidden = torch.ones(len(visible), edge**2, dtype=pixels.dtype, device=pixels.device).scatter(1, visible, 0.0)
        grid = hidden.view(-1, 1, edge, 1, edge, 1).expand(-1, -1, -1, patch, -1, patch)
        return grid.reshape(-1, 1, edge * patch, edge * patch)


def blocks_of(width: int, count: int) -> nn.Sequential:
    """Return a row of residual blocks."""
    return nn.Sequential(*(ResidualBlock(width) for _ in range(count)))
