"""What a training step computes, from crops and chance to numbers: one graph without a way out."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from cellmae.errors import ConfigError
from cellmae.models.channel_agnostic import ChannelAgnosticAutoencoder
from cellmae.models.classifier import Classifier
from cellmae.models.mae import MaskedAutoencoder
from cellmae.models.masking import Reconstruction
from cellmae.models.munet import MaskedUNet
from cellmae.models.patches import take_tokens
from cellmae.pretraining.loss import ReconstructionLoss
from cellmae.pretraining.plan import Plan
from cellmae.pretraining.randomness import masking_noise, orient, orientations


class Objective(nn.Module):
    """A model and its loss.

    Parameters
    ----------
    model
        What is trained; its ``encoder`` is what is kept in the end.

    Attributes
    ----------
    METRICS
        Names of the numbers that :meth:`forward` returns beside the loss.
    """

    METRICS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @property
    def encoder(self) -> Any:
        """The encoder within the model."""
        return self.model.encoder

    def chance(self, seed: int, step: int, *, batch_size: int) -> tuple[np.ndarray, ...]:
        """Return what chance decides in a step, arrays with a row a crop; :meth:`forward` takes them in this order."""
        raise NotImplementedError

    def forward(self, crops: torch.Tensor, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss and, without gradients, the metrics (len(METRICS),).

        Parameters
        ----------
        crops
            (batch, channels, size, size) uint8.
        inputs
            What :meth:`chance` decided, then the labels (batch,) where the crops have any.
        """
        raise NotImplementedError

    def example(self, count: int) -> tuple[torch.Tensor, ...]:
        """Return what the model takes, blank crops to begin with, to count operations with."""
        encoder = self.encoder
        return (torch.zeros(count, encoder.channels, encoder.crop_size, encoder.crop_size, dtype=torch.uint8),)

    @staticmethod
    def derive(means: Mapping[str, float]) -> dict[str, float]:
        """Return what follows from means of the loss and the metrics."""
        return {}


class MaskedObjective(Objective):
    """Reconstruction of masked patches: masked autoencoders of any kind."""

    METRICS = ("mse", "fourier", "mse_zero", "mse_visible_mean")

    def __init__(self, model: nn.Module, *, fourier_weight: float) -> None:
        super().__init__(model)
        self.loss = ReconstructionLoss(fourier_weight=fourier_weight, patch=self.encoder.patch)

    def chance(self, seed: int, step: int, *, batch_size: int) -> tuple[np.ndarray, ...]:
        """Return orientations (batch, 3) and the noise (batch, tokens) by which patches are masked."""
        noise = masking_noise(seed, step, batch_size=batch_size, tokens=self.encoder.tokens)
        return orientations(seed, step, batch_size=batch_size), noise

    def example(self, count: int) -> tuple[torch.Tensor, ...]:
        """Return blank crops, and noise to mask them by."""
        _, noise = self.chance(0, 0, batch_size=count)
        return *super().example(count), torch.from_numpy(noise)

    def forward(self, crops: torch.Tensor, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn the crops, mask, reconstruct, compare."""
        orientation, noise = inputs
        reconstruction = self.model(orient(crops, orientation), noise)
        loss, *terms = self.loss(reconstruction)
        return loss, torch.stack([*terms, *trivial_errors(reconstruction)]).detach()

    @staticmethod
    def derive(means: Mapping[str, float]) -> dict[str, float]:
        """Return the share of the masked patches' variation that is predicted."""
        variation = means["mse_zero"]  # none, if all crops were flat
        return {"masked_r2": 1 - means["mse"] / variation if variation else float("nan")}


class ClassifierObjective(Objective):
    """Weak supervision: which perturbation a crop comes from."""

    METRICS = ("accuracy",)

    def chance(self, seed: int, step: int, *, batch_size: int) -> tuple[np.ndarray, ...]:
        """Return orientations (batch, 3)."""
        return (orientations(seed, step, batch_size=batch_size),)

    def forward(self, crops: torch.Tensor, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn the crops, classify, compare with the labels."""
        orientation, labels = inputs
        logits = self.model(orient(crops, orientation)).float()
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        return functional.cross_entropy(logits, labels), accuracy.view(1).detach()


def build_objective(family: str, encoder: Any, plan: Plan, *, classes: int = 0) -> Objective:
    """Build what a family trains around an encoder; weights that are not the encoder's are drawn here."""
    masked = {"mae": MaskedAutoencoder, "ca-mae": ChannelAgnosticAutoencoder, "munet": MaskedUNet}
    if family in masked:
        model = masked[family](encoder, mask_ratio=plan.mask_ratio)
        return MaskedObjective(model, fourier_weight=plan.fourier_weight)
    if family == "classifier":
        return ClassifierObjective(Classifier(encoder, classes))
    raise ConfigError(f"models.family: '{family}' is not trained")


def trivial_errors(reconstruction: Reconstruction) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared errors of guesses that need no training: zero, and the mean of the patches that are seen."""
    guess = take_tokens(reconstruction.patches, reconstruction.visible).mean(dim=1)
    target = reconstruction.target
    of_zero = torch.linalg.vector_norm(target).square() / target.numel()
    # mean((target - guess)^2), the square written out to spare an array of the target's size
    return of_zero, of_zero + (guess.square() - 2 * guess * target.mean(dim=1)).mean()
