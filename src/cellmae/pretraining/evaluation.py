"""What a model can do in the middle of its training, measured on the same crops each time."""

from collections.abc import Mapping

import numpy as np
import torch
from torch.nn import functional

from cellmae.models.adabn import adapt_batch_norm, put_statistics, take_statistics
from cellmae.models.masking import Reconstruction
from cellmae.models.patches import take_tokens
from cellmae.pretraining.objective import ClassifierObjective, MaskedObjective, Objective

OTHER_CHANNEL = 1e6  # further than any place in the same channel


class Evaluation:
    """Crops that are set aside, and what is measured on them.

    Parameters
    ----------
    crops
        (crops, channels, size, size) uint8.
    labels
        Their classes (crops,), -1 for one that the model does not know; None where there are none.
    seed
        Of the masks.
    batch_size
        Crops at once.
    device
        Where.
    adabn
        Take the statistics of batch norms from these crops, of one experimental batch, as embedding will.
    """

    def __init__(
        self,
        crops: np.ndarray,
        labels: np.ndarray | None,
        *,
        seed: int,
        batch_size: int,
        device: torch.device,
        adabn: bool = False,
    ) -> None:
        self.crops, self.labels = crops, labels
        self.seed, self.batch_size, self.device = seed, batch_size, device
        self.adabn = adabn

    @torch.no_grad()
    def __call__(self, objective: Objective) -> dict[str, float]:
        """Measure.

        Returns
        -------
        ``rankme``, and of masked models ``eval_mse``, ``eval_r2``, and the R2 of two guesses that need no training, the
        mean of the visible patches (``eval_r2_visible_mean``) and the nearest visible patch
        (``eval_r2_nearest_visible``); of classifiers ``eval_loss`` and ``eval_accuracy``.
        """
        was_training, statistics = objective.training, take_statistics(objective)
        objective.eval()
        parts = [slice(start, start + self.batch_size) for start in range(0, len(self.crops), self.batch_size)]
        try:
            if self.adabn:
                adapt_batch_norm(objective.encoder, (torch.from_numpy(self.crops[part]) for part in parts))
            vectors, sums = [], []
            for part in parts:
                crops = torch.from_numpy(self.crops[part]).to(self.device)
                vectors.append(objective.encoder.embed(crops))
                sums.append(self._measure(objective, crops, part))
            return {**self._summary(objective, torch.stack(sums).sum(dim=0)), "rankme": rankme(torch.cat(vectors))}
        finally:
            put_statistics(objective, statistics)
            objective.train(was_training)

    def _measure(self, objective: Objective, crops: torch.Tensor, part: slice) -> torch.Tensor:
        """Return sums over crops; what they mean, :meth:`_summary` knows."""
        if isinstance(objective, MaskedObjective):
            _, noise = objective.chance(self.seed, 0, batch_size=len(self.crops))
            made = objective.model(crops, torch.from_numpy(noise[part]).to(self.device))
            edge = objective.encoder.crop_size // objective.encoder.patch
            return torch.stack([len(crops) * error.double() for error in guesses(made, edge)])
        if isinstance(objective, ClassifierObjective) and self.labels is not None:
            labels = torch.from_numpy(self.labels[part]).to(self.device)
            logits = objective.model(crops).float()
            known = (labels >= 0).sum()
            loss = functional.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
            return torch.stack([loss.double(), (logits.argmax(dim=1) == labels).sum().double(), known.double()])
        return torch.zeros(0, dtype=torch.float64, device=self.device)

    def _summary(self, objective: Objective, sums: torch.Tensor) -> Mapping[str, float]:
        if isinstance(objective, MaskedObjective):
            mse, zero, *others = sums.tolist()
            names = ("eval_r2", "eval_r2_visible_mean", "eval_r2_nearest_visible")
            shares = {
                name: 1 - error / zero if zero else float("nan")
                for name, error in zip(names, (mse, *others), strict=True)
            }
            return {"eval_mse": mse / len(self.crops)} | shares
        if isinstance(objective, ClassifierObjective) and len(sums):
            loss, right, known = sums.tolist()
            return {"eval_loss": loss / known, "eval_accuracy": right / known} if known else {}
        return {}


def guesses(made: Reconstruction, edge: int) -> list[torch.Tensor]:
    """Squared errors on masked patches of the model, of zero, of the visible patches' mean, and of the nearest one.

    Parameters
    ----------
    edge
        Patches in a row of a crop.
    """
    seen = take_tokens(made.patches, made.visible)
    nearest = nearest_visible(made.visible, made.masked, edge)
    others = (torch.zeros_like(made.target), seen.mean(dim=1, keepdim=True), take_tokens(seen, nearest))
    return [(made.target - guess).float().square().mean() for guess in (made.prediction, *others)]


def nearest_visible(visible: torch.Tensor, masked: torch.Tensor, edge: int) -> torch.Tensor:
    """Return for each masked patch which of the visible ones lies nearest, in the same channel if any is seen there.

    Parameters
    ----------
    visible, masked
        Indices (batch, seen) and (batch, masked) of patches, row by row; of one channel after the other where each has
        patches of its own.
    edge
        Patches in a row.

    Returns
    -------
    (batch, masked), places in ``visible``.
    """

    def places(indices: torch.Tensor) -> torch.Tensor:
        channel, within = indices // edge**2, indices % edge**2
        return torch.stack([channel * OTHER_CHANNEL, within // edge, within % edge], dim=2).float()

    # A crop at a time: the distances of all at once would need the memory of many crops.
    pairs = zip(places(masked), places(visible), strict=True)
    return torch.stack([torch.cdist(hidden, shown, p=1).argmin(dim=1) for hidden, shown in pairs])


def rankme(vectors: torch.Tensor) -> float:
    """Return the effective rank of embeddings (crops, dim).

    The exponential of the entropy of their singular values, RankMe (Garrido et al. 2023, arXiv 2210.02885): from 1, all
    vectors alike but for length, to the smaller of crops and dim; not a number where a vector is not finite.
    """
    if not torch.isfinite(vectors).all():
        return float("nan")
    values = torch.linalg.svdvals(vectors.double())
    shares = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return float(torch.special.entr(shares).sum().exp())
