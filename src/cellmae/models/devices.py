"""Where models run."""

import torch

from cellmae.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Return the device of this name; ``auto`` is a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device: found '{name}', but torch sees no GPU; use cpu or auto")
    return torch.device(name)
