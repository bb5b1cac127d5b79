"""Finds the folders of plates where nothing says how deep they lie."""

from collections.abc import Callable, Mapping
from pathlib import Path

from cellmae.errors import ConfigError
from cellmae.screen.listing import listing
from cellmae.screen.patterns import entries


def find_folders(root: Path, levels: int, holds_plate: Callable[[Path], bool], visited: list[Path]) -> list[Path]:
    """Return the folders that hold a plate, the root or at most so many levels below it.

    Nothing is looked for within them. Hidden folders are passed over, links are followed.

    Parameters
    ----------
    root
        Where to begin.
    levels
        How far to go down.
    holds_plate
        Whether a folder is one of those.
    visited
        Is extended by the other folders: those in which a new plate would appear.
    """
    if holds_plate(root):
        return [root]
    visited.append(root)
    if levels == 0:
        return []
    below = [root / name for name in sorted(entries(root)) if not name.startswith(".")]
    return [found for path in below if path.is_dir() for found in find_folders(path, levels - 1, holds_plate, visited)]


def one_folder_a_plate(names: Mapping[Path, str], root: Path) -> dict[str, Path]:
    """Turn folders with the names of their plates around.

    Raises
    ------
    ConfigError
        There is none, or several are of one plate.
    """
    folders: dict[str, list[Path]] = {}
    for folder, name in names.items():
        folders.setdefault(name, []).append(folder)
    for name, found in folders.items():
        if len(found) > 1:
            where = listing(path.relative_to(root).as_posix() for path in found)
            raise ConfigError(
                f"screen.root: below {root} there are several measurements of the plate {name} ({where}); keep one"
            )
    return {name: found for name, (found,) in folders.items()}
