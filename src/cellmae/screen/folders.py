"""Folders of plates at any depth below a root, told by what lies in them."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cellmae.errors import ConfigError
from cellmae.screen.listing import listing
from cellmae.screen.patterns import entries

DEEPEST = 4  # levels below the root, that of the images among them
IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".xml", ".csv", ".txt")


def find_folders(root: Path, holds_plate: Callable[[list[str]], bool], visited: list[Path]) -> Iterator[Path]:
    """Yield the folders, the root among them, whose names of entries satisfy ``holds_plate``; none within another.

    ``visited`` is extended by the folders in which another one would appear.
    """
    yield from _below(root, holds_plate, visited, DEEPEST)


def _below(folder: Path, holds_plate: Callable[[list[str]], bool], visited: list[Path], levels: int) -> Iterator[Path]:
    names = sorted(name for name in entries(folder) if not name.startswith("."))
    if holds_plate(names):
        yield folder
        return
    visited.append(folder)
    for name in names if levels else []:
        if not name.lower().endswith(IMAGE_SUFFIXES) and (folder / name).is_dir():
            yield from _below(folder / name, holds_plate, visited, levels - 1)


def one_folder_each(named: Iterable[tuple[str, Path]], *, root: Path, kind: str) -> dict[str, Path]:
    """Return the folders by the names of their plates.

    Raises
    ------
    ConfigError
        There is none, or several have the same name.
    """
    folders: dict[str, Path] = {}
    for name, folder in named:
        if name in folders:
            raise ConfigError(
                f"screen.root: {listing([folders[name], folder])} are both of the plate {name}; keep one of them below "
                f"{root}"
            )
        folders[name] = folder
    if not folders:
        raise ConfigError(f"screen.root: no folder at most {DEEPEST} levels below {root} holds {kind}")
    return folders
