"""A study: many models that differ in a few keys, written down in a few lines."""

import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from cellmae.errors import ConfigError
from cellmae.screen.listing import listing

VARY, AGAINST = "vary", "against"
ABBREVIATIONS = {
    "size": "",
    "architecture": "",
    "patch": "p",
    "plates": "n",
    "crops_total": "c",
    "seed": "s",
    "mask_ratio": "m",
    "fourier_weight": "f",
    "embed_block": "b",
    "learning_rate": "lr",
}
"""How a key is written in the name of a model; others are written out."""


def with_study(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration in which the models of its ``study`` stand under ``models``, before it is checked.

    A line of a study is a model with lists under ``vary``, and stands for a model for each combination of their
    entries: ``mae: {family: mae, vary: {size: [tiny, small], seed: [0, 1]}}`` for ``mae-tiny-s0``, ``mae-tiny-s1``,
    ``mae-small-s0`` and ``mae-small-s1``. Under ``against`` it may name a model that the report compares its own with.

    Raises
    ------
    ConfigError
        A line has nothing to vary, the name of a model, or gives a model the name of another; or it is against a
        model that there is not.
    """
    models, study = config.get("models") or {}, config.get("study") or {}
    if not (isinstance(models, Mapping) and isinstance(study, Mapping)):  # which the schema refuses
        return dict(config)
    models, named = dict(models), set[str]()
    for line, spec in study.items():
        for name, model in _models_of(line, spec):
            if name in named or (name in models and not _is_completed(model, models[name])):
                raise ConfigError(f"study.{line}: gives a model the name {name}, which there is already")
            named.add(name)
            models.setdefault(name, model)
    for line, spec in study.items():
        if line in models:
            raise ConfigError(f"study.{line}: there is a model of this name, too; call one of them otherwise")
        if (against := spec.get(AGAINST)) is not None and not _is_there(str(against), models):
            expected = f"one of the models {listing(models)}, or a point of one"
            raise ConfigError(f"study.{line}.{AGAINST}: found {against!r}, expected {expected}")
    return {**config, "models": models} if models else dict(config)


def whole_model(name: str) -> str:
    """Return the model that a point is on the way to, whose name ends in ``-at-`` and a number; others as they are."""
    return re.sub(r"-at-\d+$", "", str(name))


def line_of(model: str, study: Mapping[str, Any]) -> str | None:
    """Return the line of a study that a model, or what it is a point of, belongs to; None for other models."""
    for line, spec in study.items():
        if any(name == whole_model(model) for name, _ in _models_of(line, spec)):
            return line
    return None


def group_of(model: str, study: Mapping[str, Any]) -> str:
    """Return what a model is shown with: its line of the study, or else the model that it is a point of, or itself."""
    return line_of(model, study) or whole_model(model)


def varied(spec: Mapping[str, Any], line: str) -> dict[str, dict[str, Any]]:
    """Return the models of a line of a study, and what each of them is given of the keys that vary."""
    return {name: {key: model[key] for key in spec[VARY]} for name, model in _models_of(line, spec)}


def _models_of(line: str, spec: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    vary = spec.get(VARY) if isinstance(spec, Mapping) else None
    if (
        not isinstance(vary, Mapping)
        or not vary
        or not all(isinstance(values, list) and values for values in vary.values())
    ):
        raise ConfigError(
            f"study.{line}.{VARY}: found {vary!r}, expected keys of a model with lists of values, such as "
            "{size: [tiny, small]}"
        )
    common = {key: value for key, value in spec.items() if key not in (VARY, AGAINST)}
    for values in product(*vary.values()):
        chosen = dict(zip(vary, values, strict=True))
        yield "-".join([line, *(_label(key, value) for key, value in chosen.items())]), common | chosen


def _is_there(name: str, models: Mapping[str, Any]) -> bool:
    """Say whether there is a model, or a point of one."""
    spec = models.get(whole_model(name))
    points = spec.get("points") if isinstance(spec, Mapping) else None
    return name in models or name in {f"{whole_model(name)}-at-{crops}" for crops in points or ()}


def _is_completed(model: Mapping[str, Any], other: Any) -> bool:
    """Say whether another model is this one with further keys, as in a configuration that has been completed."""
    return isinstance(other, Mapping) and all(key in other and other[key] == value for key, value in model.items())


def _label(key: str, value: Any) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", f"{ABBREVIATIONS.get(key, key)}{value}").strip("_")
