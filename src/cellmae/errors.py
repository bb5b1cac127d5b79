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
    anew; before it the result, if it is a single ``file``, so that no job beside finds one that nothing vouches for.
    """

    def __init__(self, message: str, *, manifest: str | Path, file: str | Path | None = None) -> None:
        """Say what is damaged, and which file makes Snakemake take it for finished."""
        super().__init__(message)
        self.to_delete = [Path(path) for path in (file, manifest) if path is not None]
        self.manifest = Path(manifest)
