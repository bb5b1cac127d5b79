"""The channel-agnostic masked autoencoder: each patch of each channel is a token of its own."""

from collections.abc import Callable

import torch
from timm.layers import Mlp
from torch import nn
from torch.nn import functional

from cellmae.errors import DataError
from cellmae.models.architecture import CROSS_ATTENTION_HEADS, Architecture, check_cross_attention
from cellmae.models.masking import MaskedModel, Reconstruction
from cellmae.models.patches import from_patches, sincos_positions, take_tokens, to_patches
from cellmae.models.vit import BLOCKS, LayerNorm, ViTEncoder, initialise

MAX_CHANNELS = 11  # that an encoder has positions for, as the published checkpoint, unless it is trained on more
MLP_RATIO = 4


class ChannelAgnosticEncoder(ViTEncoder):
    """Encoder that takes any channels: one projection of patches for all of them, their tokens in one sequence.

    Kraus et al. 2024 (arXiv 2404.10242). The tokens of the first channel come first, then those of the second, and
    so on. Positions repeat from channel to channel and nothing says which channel a token is of, so that an encoder
    can embed other channels than it was trained on, in any number and order.

    Parameters
    ----------
    architecture
        Dimensions of the encoder.
    channels, crop_size
        Number of channels that training and :attr:`dim` are about, and edge of the crops in pixels.
    per_channel
        Embed crops as the means of each channel's tokens, one after the other, not as the mean of all of them.

    Attributes
    ----------
    dim
        Length of the embedding of crops with ``channels`` channels.
    max_channels
        The largest number of channels that there are positions for.
    """

    def __init__(self, architecture: Architecture, *, channels: int, crop_size: int, per_channel: bool = False) -> None:
        super().__init__(architecture, channels=1, crop_size=crop_size)
        self.channels, self.per_channel = channels, per_channel
        self.dim = architecture.width * (channels if per_channel else 1)
        self.max_channels = max(channels, MAX_CHANNELS)
        # Saved with the weights, because published ones may arrange sines and cosines in another order; with a row
        # for the class token, zeros here, because theirs have one.
        table = functional.pad(self.positions.repeat(1, self.max_channels, 1), (0, 0, 1, 0))
        self.register_buffer("positions", table, persistent=True)

    @property
    def channel_tokens(self) -> int:
        """Patches in one channel of a crop."""
        return (self.crop_size // self.patch) ** 2

    @property
    def tokens(self) -> int:
        """Patches in a crop, of all channels."""
        return self.channels * self.channel_tokens

    def patches(self, crops: torch.Tensor) -> torch.Tensor:
        """Standardise crops (batch, any channels, y, x) and cut them into patches (batch, tokens, pixels).

        Raises
        ------
        DataError
            The crops have more channels than there are positions for, or another size.
        """
        batch, channels, *edges = crops.shape
        if not 1 <= channels <= self.max_channels:
            raise DataError(
                f"crops: found {channels} channels, expected 1 to {self.max_channels}, as this encoder takes"
            )
        if edges != [self.crop_size] * 2:
            raise DataError(
                f"crops: found {' x '.join(map(str, edges))} pixels, expected {self.crop_size} x {self.crop_size}, "
                "for which this encoder has positions"
            )
        pixels = to_patches(crops.flatten(0, 1).unsqueeze(1), self.patch)  # first, while they are bytes
        return self.standardise(pixels, dims=(1, 2)).view(batch, -1, self.patch**2)

    def to_images(self, patches: torch.Tensor) -> torch.Tensor:
        """Put patches (batch, tokens, pixels) together to images (batch, channels, y, x)."""
        by_channel = patches.unflatten(1, (-1, self.channel_tokens))
        images = from_patches(by_channel.flatten(0, 1), self.patch, 1)
        return images.view(*by_channel.shape[:2], *images.shape[2:])

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        """Average the patches' tokens, all or channel by channel, without the class token: (batch, dim) float32."""
        if not self.per_channel:
            return super().pool(tokens)
        return tokens[:, 1:].float().unflatten(1, (-1, self.channel_tokens)).mean(dim=2).flatten(1)

    def _tokens(self, patches: torch.Tensor, visible: torch.Tensor | None) -> torch.Tensor:
        positions = self.positions[:, 1 : 1 + patches.shape[1]]
        if visible is not None:
            # Before the projection: what is masked costs nothing.
            patches, positions = take_tokens(patches, visible), take_tokens(positions, visible)
        tokens = self.projection(patches) + positions
        class_token = self.class_token + self.positions[:, :1]
        return torch.cat([class_token.expand(len(tokens), -1, -1), tokens], dim=1)


class CrossAttention(nn.Module):
    """Attention of some tokens to others, with several heads; only the last projection has a bias.

    Parameters
    ----------
    width, heads
        Of the tokens, and how many heads share it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.fused_attn = True  # the name by which timm's blocks can be told to multiply step by step
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, queries: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Let queries (batch, count, width) look at a context (batch, any number, width)."""
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.q(queries), *self.kv(context).chunk(2, dim=2))
        )
        if self.fused_attn:
            attended = functional.scaled_dot_product_attention(q, k, v)
        else:
            attended = (q * q.shape[-1] ** -0.5 @ k.transpose(2, 3)).softmax(dim=3) @ v
        return self.proj(attended.transpose(1, 2).flatten(2))


class ChannelAgnosticAutoencoder(MaskedModel):
    """Masked autoencoder over the tokens of all channels, masked jointly (Kraus et al. 2024, arXiv 2404.10242).

    The decoder, in the manner of MultiMAE (Bachmann et al. 2022, arXiv 2204.01678), tells the channels apart by a
    learned token each. The tokens of each channel attend to those of all, pass an MLP and then the blocks of their
    channel's own stack; one linear layer turns them into pixels. The class token has no part in it.

    Parameters
    ----------
    encoder
        Sees the patches that are left.
    mask_ratio
        Share of the patches that are masked; ``int(tokens * (1 - mask_ratio))`` are seen.
    channels
        How many channels are decoded, by default the encoder's. Where these differ, only the encoder can be used.
    norm_layer
        Makes the decoder's norms of a width.

    Raises
    ------
    ConfigError
        No patch would be seen, or none masked, or the decoder's width cannot be shared by the heads.
    """

    positions: torch.Tensor

    def __init__(
        self,
        encoder: ChannelAgnosticEncoder,
        *,
        mask_ratio: float,
        channels: int | None = None,
        norm_layer: Callable[[int], nn.Module] = LayerNorm,
    ) -> None:
        decoded = channels or encoder.channels
        super().__init__(encoder, tokens=decoded * encoder.channel_tokens, mask_ratio=mask_ratio)
        architecture = encoder.architecture
        width = architecture.decoder_width
        self.channels = decoded
        check_cross_attention(architecture)
        self.bridge = nn.Linear(architecture.width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        # A parameter each: weight decay spares single tokens, and would take a table of them for a matrix.
        self.channel_tokens = nn.ParameterList(torch.zeros(1, 1, width) for _ in range(self.channels))
        table = sincos_positions(encoder.crop_size // encoder.patch, width).repeat(1, self.channels, 1)
        self.register_buffer("positions", table, persistent=True)  # saved as the encoder's are
        self.query_norm, self.context_norm = norm_layer(width), norm_layer(width)
        self.cross_attention = CrossAttention(width, CROSS_ATTENTION_HEADS)
        self.out_norm = norm_layer(width)
        self.mlp = Mlp(width, MLP_RATIO * width)
        self.stacks = nn.ModuleList(
            nn.Sequential(
                *(
                    BLOCKS["plain"](width, architecture.decoder_heads, qkv_bias=True, norm_layer=norm_layer)
                    for _ in range(architecture.decoder_depth)
                )
            )
            for _ in range(self.channels)
        )
        self.head = nn.Linear(width, encoder.patch**2)
        for part in (self.bridge, self.cross_attention, self.mlp, self.stacks, self.head):
            part.apply(initialise)

    def forward(self, crops: torch.Tensor, noise: torch.Tensor) -> Reconstruction:
        """Mask crops and reconstruct what was masked.

        Parameters
        ----------
        crops
            (batch, channels, y, x) of 0 to 255.
        noise
            (batch, tokens); the patches with the smallest values are seen.

        Raises
        ------
        DataError
            The crops have other channels than the decoder.
        """
        visible, masked = self.split(noise)
        patches = self._patches(crops)
        tokens = self._decode(self.encoder(patches, visible), visible)
        # Only what counts for the loss is projected back to pixels.
        prediction = self.head(take_tokens(tokens, masked))
        return Reconstruction(prediction, take_tokens(patches, masked), visible, masked, patches)

    def reconstruct(self, crops: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Predict all patches of masked crops, seen ones too, (batch, tokens, pixels)."""
        visible, _ = self.split(noise)
        return self.head(self._decode(self.encoder(self._patches(crops), visible), visible))

    def _patches(self, crops: torch.Tensor) -> torch.Tensor:
        if crops.shape[1] != self.channels:
            raise DataError(
                f"crops: found {crops.shape[1]} channels, expected {self.channels}, each of which has a decoder of "
                "its own; other numbers of channels can only be embedded"
            )
        return self.encoder.patches(crops)

    def _decode(self, tokens: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """Decode the encoder's tokens; returns those of all patches in their order, (batch, tokens, decoder width)."""
        seen = self.bridge(tokens[:, 1:]).to(self.mask_token.dtype)
        places = visible.unsqueeze(2).expand_as(seen)
        channel_tokens = torch.cat(list(self.channel_tokens), dim=1).repeat_interleave(
            self.encoder.channel_tokens, dim=1
        )
        # Each channel is decoded by itself, so the patches go back to where they came from.
        tokens = self.mask_token.expand(len(seen), self.positions.shape[1], -1).scatter(1, places, seen)
        tokens = tokens + self.positions + channel_tokens
        attended = self.cross_attention(self.query_norm(tokens), self.context_norm(tokens))
        # Without a residual path here, mixed precision would otherwise leave half of the digits to all that follows.
        tokens = attended.to(tokens.dtype)
        tokens = tokens + self.mlp(self.out_norm(tokens))
        channels = tokens.unflatten(1, (self.channels, -1)).unbind(1)
        return torch.cat([stack(part) for stack, part in zip(self.stacks, channels, strict=True)], dim=1)
