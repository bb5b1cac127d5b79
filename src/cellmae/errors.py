"""Errors that are meant for the person at the keyboard: one line that says what to do."""

from pathlib import Path


class CellmaeError(Exception):
    """What was found, what was expected, and what to do about it, in one line; shown without a traceback."""


class ConfigError(CellmaeError):
    """The configuration cannot be carried out; the message begins with the key, as in ``tiles.size: ...``."""


class DataError(CellmaeError):
    """Images, tables or results on disk are missing, broken or contradict each other."""


class DamagedError(DataError):
    """A result is not what was written; ``manifest`` is the file that vouches for it.

    A job that meets one deletes that file (:func:`cellmae.logging.job_log`), so that the next run makes the result
    anew.
    """

    def __init__(self, message: str, *, manifest: str | Path) -> None:
        """Say what is damaged, and which file makes Snakemake take it for finished."""
        super().__init__(message)
        self.manifest = Path(manifest)
