"""The architecture keys of a model's configuration: what each size means, and which combinations can be built.

Nothing here needs torch, so that a configuration can be checked before the first job.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from cellmae.errors import ConfigError


@dataclass(frozen=True)
class Size:
    """Dimensions that go by one name."""

    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    drop_path: float
    layer_scale: float


SIZES = {
    # Deep networks need LayerScale to begin near the identity; four blocks that see 10^5 crops do not get far from it.
    "tiny": Size(128, 4, 4, 64, 2, 4, drop_path=0.0, layer_scale=0.1),
    "small": Size(384, 12, 6, 512, 8, 16, drop_path=0.1, layer_scale=1e-4),
    "base": Size(768, 12, 12, 512, 8, 16, drop_path=0.1, layer_scale=1e-4),
    "large": Size(1024, 24, 16, 512, 8, 16, drop_path=0.3, layer_scale=1e-4),
}
"""``small``, ``base`` and ``large`` as in Kraus et al. 2023 (arXiv 2309.16064); ``tiny`` is for CPUs."""


@dataclass(frozen=True)
class Architecture:
    """The keys of a vision transformer and its decoder.

    Attributes
    ----------
    size
        A key of :data:`SIZES`, from which come all values below that are None.
    patch
        Edge of a patch in pixels; it divides the crop.
    layer_scale
        Initial value of LayerScale; 0 leaves it out.
    drop_path
        Rate of stochastic depth at the last block; it grows linearly from 0 at the first.
    final_norm
        Normalise the tokens after the last block. The paper's encoders do not: timm's ``global_pool="avg"``
        makes that norm an identity.
    embed_block
        How many blocks a crop passes before its patch tokens are averaged; None is all of them.
    decoder_width, decoder_depth, decoder_heads
        Dimensions of the decoder.
    """

    size: str = "tiny"
    patch: int = 16
    layer_scale: float | None = None
    drop_path: float | None = None
    final_norm: bool = False
    embed_block: int | None = None
    decoder_width: int | None = None
    decoder_depth: int | None = None
    decoder_heads: int | None = None

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], *, crop_size: int) -> Self:
        """Take the architecture's keys from a model's configuration, fill in its size and check that they fit.

        Raises
        ------
        ConfigError
            Names the key.
        """
        keys = {field.name for field in fields(cls)}
        given = cls(**{key: value for key, value in spec.items() if key in keys})
        if given.size not in SIZES:
            raise ConfigError(f"models.size: '{given.size}' is unknown; one of {', '.join(SIZES)}")
        size = SIZES[given.size]
        chosen = replace(
            given,
            **{key: getattr(size, key) for key in keys if hasattr(size, key) and getattr(given, key) is None},
        )
        chosen._check(crop_size)
        return chosen

    @property
    def dimensions(self) -> Size:
        """Width, depth and heads of the encoder."""
        return SIZES[self.size]

    def _check(self, crop_size: int) -> None:
        if self.patch < 1 or crop_size % self.patch:
            raise ConfigError(
                f"models.patch: {self.patch} does not divide the crop of {crop_size} pixels (tiles.size); "
                f"choose one of {', '.join(str(edge) for edge in (4, 8, 16, 32) if crop_size % edge == 0)}"
            )
        depth = self.dimensions.depth
        if self.embed_block is not None and not 1 <= self.embed_block <= depth:
            raise ConfigError(
                f"models.embed_block: {self.embed_block} is not among the {depth} blocks of size '{self.size}'"
            )
        if self.decoder_width % self.decoder_heads or self.decoder_width % 4:
            raise ConfigError(
                f"models.decoder_width: {self.decoder_width} must be a multiple of 4 and of decoder_heads "
                f"({self.decoder_heads})"
            )
