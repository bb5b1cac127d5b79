"""Checkpoints: whole or absent, the last two kept, and none of another training taken for one's own."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from cellmae.files import atomic_path, remove
from cellmae.logging import logger

KEPT = 2
FINGERPRINT_LETTERS = 12
DAMAGE = (OSError, EOFError, RuntimeError, KeyError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile)


class Checkpoints:
    """Folder of a training's checkpoints.

    Parameters
    ----------
    folder
        Folder that the workflow does not know, and so does not delete when a job fails.
    fingerprint
        Digest of all that the weights depend on. Checkpoints with another fingerprint are not used; they stay
        until the first new one is written, for the case that a configuration was changed by mistake.
    """

    def __init__(self, folder: str | Path, fingerprint: str) -> None:
        self.folder = Path(folder)
        self.fingerprint = fingerprint[:FINGERPRINT_LETTERS]

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after ``step`` steps, and remove what is older than the last two."""
        path = self.folder / f"{self.fingerprint}-{step:09d}.pt"
        with atomic_path(path) as partial, open(partial, "wb") as file:
            try:
                torch.save({"step": step, **state}, file)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):  # a full disk, of which torch only says where it was
                    raise error.__context__ from None
                raise
        kept = self._own()[-KEPT:]
        for other in self.folder.iterdir():
            if other not in kept:
                remove(other)

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """Return the newest state that can be read, with its ``step``; None where there is none."""
        own = self._own()
        for path in reversed(own):
            try:
                _require_whole(path)
                return torch.load(path, map_location=device, weights_only=True)
            except DAMAGE as error:
                logger.warning("%s is damaged and left aside (%s)", path, str(error).splitlines()[:1])
        if not own and self.folder.is_dir() and any(self.folder.glob("*.pt")):
            logger.info("%s: the tiles or the configuration have changed; training begins afresh", self.folder)
        return None

    def _own(self) -> list[Path]:
        return sorted(self.folder.glob(f"{self.fingerprint}-*.pt"))


def _require_whole(path: Path) -> None:
    """Compare the checksums in a checkpoint, at which torch does not look."""
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"{damaged} was altered")
