"""Tiles become an encoder: the objectives, the schedule, the loop, and checkpoints from which it goes on exactly."""

import lazy_loader

VERSION = 2
"""Bumped when the results of the stage change."""

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "compute": ["training_flops"],
        "launch": ["granted_nodes", "granted_ranks"],
        "history": ["read_history"],
        "plan": ["Plan"],
        "run": ["pretrain"],
    },
)
