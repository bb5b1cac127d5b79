"""Weakly supervised models: a network that tells perturbations apart, and the narrow layer that is its embedding."""

import torch
from torch import nn

from cellmae.models.patches import SelfStandardise, to_patches
from cellmae.models.vit import ViTEncoder

NECK = 128  # width of the embedding in Kraus et al. 2023


class ClassifierEncoder(nn.Module):
    """Encoder of crops that a classification trains: self-standardisation, a backbone, and a linear layer, the neck.

    The weakly supervised models of Kraus et al. 2023 (arXiv 2309.16064) have a DenseNet-161 and a neck 128 wide. The
    neck has no norm of its own: batch norm would make models with a transformer depend on what else is in a batch, and
    layer norm would throw the length of the vector away.

    Parameters
    ----------
    backbone
        Turns standardised crops (batch, channels, y, x) into (batch, features): what
        :func:`cellmae.models.densenet.build_densenet` returns, or a :class:`ViTBackbone`.
    features
        Width of what the backbone returns.
    channels, crop_size
        Number of channels, and edge of the crops in pixels.
    neck
        Width of the embedding.
    """

    def __init__(self, backbone: nn.Module, features: int, *, channels: int, crop_size: int, neck: int = NECK) -> None:
        super().__init__()
        self.channels, self.crop_size, self.dim = channels, crop_size, neck
        self.standardise = SelfStandardise()
        self.backbone = backbone
        self.neck = nn.Linear(features, neck)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Turn crops (batch, channels, y, x) of 0 to 255 into (batch, dim)."""
        return self.neck(self.backbone(self.standardise(crops)))

    def embed(self, crops: torch.Tensor) -> torch.Tensor:
        """Embed crops (batch, channels, y, x) of 0 to 255 as (batch, dim) float32."""
        return self(crops).float()


class ViTBackbone(nn.Module):
    """A vision transformer as the backbone of a :class:`ClassifierEncoder`: the mean of its patch tokens.

    Classification reads all blocks, whatever the ``embed_block`` of its architecture.
    """

    def __init__(self, vit: ViTEncoder) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn standardised crops (batch, channels, y, x) into (batch, width)."""
        return self.vit(to_patches(pixels, self.vit.patch))[:, 1:].mean(dim=1)


class Classifier(nn.Module):
    """An encoder and a linear layer from its embedding to classes.

    Parameters
    ----------
    encoder
        With the classes' number it is all that is needed; only the encoder is kept after training.
    classes
        Number of classes.
    """

    def __init__(self, encoder: ClassifierEncoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.dim, classes)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Turn crops (batch, channels, y, x) of 0 to 255 into logits (batch, classes)."""
        return self.head(self.encoder(crops))
