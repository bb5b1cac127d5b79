"""The training keys of a model's configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import ceil
from typing import Any, Literal, Self

from cellmae.errors import ConfigError
from cellmae.models.architecture import KEYS as ARCHITECTURE_KEYS

OTHER_KEYS = frozenset(
    {"family", "architecture", "neck", "per_channel", "plates", "validation_plates", "refit", "gpus", "nodes"}
)
OPERATIONAL_KEYS = frozenset(
    {
        "plates",
        "validation_plates",
        "refit",
        "gpus",
        "nodes",
        "points",
        "checkpoint_minutes",
        "tensorboard",
        "accumulate",
        "compile",
    }
)
"""What says how a training is run: beyond rounding it does not change the result, and a checkpoint outlives it."""
WITHOUT_EFFECT_ON_WEIGHTS = OPERATIONAL_KEYS | {"embed_block", "per_channel"}


@dataclass(frozen=True)
class Plan:
    """How a model is trained.

    The defaults are those of Kraus et al. 2023 (arXiv 2309.16064) for models up to ViT-B, where the paper gives them.

    Attributes
    ----------
    mask_ratio
        Share of the patches that are masked; not for classifiers.
    fourier_weight
        Weight of the Fourier term, 0.01 for the "+" models; the squared error has the rest. Not for classifiers.
    adabn
        Draw every batch from one experimental batch, so that batch normalisation learns to take its statistics from
        there (AdaBN, Li et al. 2016, arXiv 1603.04779); for classifiers.
    crops
        Crops at random places (``random``) or the grid of tiles (``grid``).
    crops_total, batch_size
        Crops seen in the whole training, and in a step, over all ranks.
    accumulate
        Pieces that each rank takes its part of a batch in, one after the other, to spare memory.
    optimizer
        ``lion`` or ``adamw``.
    learning_rate, betas, weight_decay
        Peak of the schedule, moving averages of the optimizer, and its decoupled decay, which spares biases,
        norms and single tokens.
    warmup
        Share of the steps in which the learning rate rises.
    cycle_momentum
        Lower the first beta while the learning rate rises, as PyTorch's ``OneCycleLR`` does by default.
    gradient_clip
        Largest norm of the gradient; 0 leaves it as it is.
    ema
        Decay of an exponential moving average of the weights, which is what embeds then; 0 keeps none.
    precision
        ``bfloat16`` (autocast; weights stay float32), ``float32``, or ``auto``: bfloat16 on GPUs, and on CPUs that
        have instructions for it.
    compile
        Compile the step. None does so on GPUs; on CPUs that gains little and takes a minute.
    seed
        Of weights, crops, turns, masks and drop paths.
    points
        Crops seen after which the encoder is kept as well, on the way.
    checkpoint_minutes
        Time between checkpoints.
    tensorboard
        Write the history as TensorBoard events too.
    """

    mask_ratio: float = 0.75
    fourier_weight: float = 0.01
    adabn: bool = False
    crops: Literal["random", "grid"] = "random"
    crops_total: int = 200_000
    batch_size: int = 48
    accumulate: int = 1
    optimizer: Literal["lion", "adamw"] = "lion"
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.05
    warmup: float = 0.1
    cycle_momentum: bool = False
    gradient_clip: float = 1.0
    ema: float = 0.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool | None = None
    seed: int = 0
    points: tuple[int, ...] = ()
    checkpoint_minutes: float = 5.0
    tensorboard: bool = False

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """Take the training keys from a model's configuration.

        Raises
        ------
        ConfigError
            A key is unknown, or its value cannot be carried out.
        """
        keys = {field.name for field in fields(cls)}
        known = keys | ARCHITECTURE_KEYS | OTHER_KEYS
        if unknown := sorted(set(spec) - known):
            raise ConfigError(f"models.{unknown[0]}: unknown key; known are {', '.join(sorted(known))}")
        plan = cls(**{key: value for key, value in spec.items() if key in keys})
        plan._check()
        return plan

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return ceil(self.crops_total / self.batch_size)

    def check_ranks(self, ranks: int) -> None:
        """Raise :class:`ConfigError` where a batch cannot be shared out evenly."""
        if self.batch_size % (ranks * self.accumulate):
            raise ConfigError(
                f"models.batch_size: found {self.batch_size}, expected a multiple of {ranks * self.accumulate}: the "
                f"ranks ({ranks}) times models.accumulate ({self.accumulate})"
            )

    def _check(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise ConfigError(f"models.mask_ratio: found {self.mask_ratio}, expected a share between 0 and 1")
        if not 0 <= self.fourier_weight <= 1:
            raise ConfigError(f"models.fourier_weight: found {self.fourier_weight}, expected 0 to 1")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"models.warmup: found {self.warmup}, expected a share of at least 0 and below 1")
        for key in ("crops_total", "batch_size", "accumulate"):
            if getattr(self, key) < 1:
                raise ConfigError(f"models.{key}: found {getattr(self, key)}, expected at least 1")
        if beyond := [crops for crops in self.points if not 0 < crops < self.crops_total]:
            raise ConfigError(f"models.points: found {beyond[0]}, expected crops before the last, {self.crops_total}")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"models.ema: found {self.ema}, expected a decay of at least 0 and below 1")
        self.check_ranks(1)
        if self.optimizer not in ("lion", "adamw"):
            raise ConfigError(f"models.optimizer: '{self.optimizer}' is unknown; one of lion, adamw")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ConfigError(f"models.precision: '{self.precision}' is unknown; one of auto, float32, bfloat16")


def training_keys(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a model's configuration that the trained weights depend on."""
    return {key: value for key, value in spec.items() if key not in WITHOUT_EFFECT_ON_WEIGHTS}
