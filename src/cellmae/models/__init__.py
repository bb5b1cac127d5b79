"""Crops become vectors: the encoders, the masked autoencoder that trains them, and the baselines."""

import lazy_loader

VERSION = 2
"""Bumped when the results of the stage change."""

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "architecture": ["SIZES", "Architecture", "read_architecture"],
        "devices": ["choose_device", "prepare_cpu", "uses_bfloat16"],
        "families": ["FAMILIES", "Encoder", "Family", "build_encoder", "with_points"],
        "folders": ["build_baseline", "load_encoder", "read_model", "save_encoder", "takes"],
        "mae": ["MaskedAutoencoder"],
        "vit": ["ViTEncoder"],
    },
)
