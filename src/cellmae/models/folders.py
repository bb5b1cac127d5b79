"""The folder of a model: ``encoder.safetensors`` and ``model.yaml``, from which the encoder is built again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from cellmae.errors import DamagedError, DataError
from cellmae.files import atomic_path, digest_file
from cellmae.logging import logger
from cellmae.models import VERSION
from cellmae.models.families import Encoder, at_block, build_encoder, family_of
from cellmae.versions import is_newer

if TYPE_CHECKING:
    from torch import nn

RECORD = "model.yaml"
WEIGHTS = "encoder.safetensors"
STAGE = "models"


def save_encoder(
    folder: str | Path,
    encoder: "nn.Module",
    *,
    spec: Mapping[str, Any],
    channels: Sequence[str],
    crop_size: int,
    plates: Sequence[str] = (),
    training: Mapping[str, Any] | None = None,
    of: str | None = None,
) -> None:
    """Write an encoder: its weights, where it has any, then ``model.yaml``, which says that the model is complete.

    Parameters
    ----------
    folder
        Folder of the model.
    encoder
        An encoder that the family of ``spec`` builds.
    spec
        Configuration of the model, an entry of ``models``.
    channels, crop_size
        Names of the channels in order, and edge of the crops in pixels.
    plates
        Slugs of the plates that the model was trained on.
    training
        What pretraining has to say of itself; no times, so that the same training writes the same file.
    of
        The model of the same run whose training it is.
    """
    from safetensors.torch import save

    folder = Path(folder)
    weights = {name: value.contiguous().cpu() for name, value in encoder.state_dict().items()}
    if weights:
        with atomic_path(folder / WEIGHTS) as partial:
            partial.write_bytes(save(weights))  # save_file makes files that only their owner can read
    record = {
        "stage": STAGE,
        "version": VERSION,
        "family": spec["family"],
        "spec": dict(spec),
        "channels": list(channels),
        "crop_size": crop_size,
        "plates": list(plates),
        "weights_digest": digest_file(folder / WEIGHTS) if weights else None,
        "dim": encoder.dim,
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "training": dict(training) if training is not None else None,
        "of": of,
    }
    with atomic_path(folder / RECORD) as partial:
        partial.write_text(yaml.safe_dump(record, sort_keys=False))
    logger.info("%s: %d parameters, vectors of %d", folder, record["parameters"], record["dim"])


def read_model(folder: str | Path) -> dict[str, Any]:
    """Read what a model's folder says of it, without importing torch.

    Returns
    -------
    ``family``, ``spec``, ``channels``, ``crop_size``, ``plates``, ``weights_digest`` (None without weights),
    ``dim``, ``parameters``, ``training`` (None for baselines) and ``of``, the model of the same run that was
    trained, if it is another.
    """
    path = Path(folder) / RECORD
    try:
        record = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise DataError(f"{path} is missing: the model is not finished; run the stage models") from None
    except yaml.YAMLError as error:
        message = f"{path} is not YAML ({' '.join(str(error).split())}): delete it and run the stage models"
        raise DamagedError(message, manifest=path) from None
    if not isinstance(record, dict) or record.get("stage") != STAGE:
        raise DamagedError(f"{path} describes no model: delete it and run the stage models", manifest=path)
    return record


def load_encoder(folder: str | Path) -> Encoder:
    """Build the encoder of a model's folder and load its weights, in evaluation mode, on the CPU.

    Raises
    ------
    DataError
        The model is not finished, or its weights are missing or damaged.
    """
    from safetensors.torch import load_file

    record = read_model(folder)
    if is_newer(record.get("version"), VERSION):
        raise DataError(
            f"{folder} is a model of version {record['version']}, newer than version {VERSION} that this cellmae "
            "reads: update cellmae"
        )
    encoder = _build(record["spec"], len(record["channels"]), record["crop_size"])
    if record["weights_digest"] is not None:
        path = Path(folder) / WEIGHTS
        found = digest_file(path) if path.exists() else "no such file"
        if found != record["weights_digest"]:
            raise DamagedError(
                f"{path} is damaged or of another model (digest {found}, {RECORD} says "
                f"{record['weights_digest']}): delete {path.with_name(RECORD)} and run the stage models",
                manifest=path.with_name(RECORD),
            )
        encoder.load_state_dict(load_file(path))
    return cast(Encoder, encoder.eval())


def build_baseline(spec: Mapping[str, Any], *, channels: Sequence[str], crop_size: int, folder: str | Path) -> None:
    """Write a model that needs no training here.

    Its weights, where it has any, are random by ``seed``, or come from where the family has them from: a published
    checkpoint, or, for ``family: saved``, the folder of a model that cellmae made elsewhere (``weights``) or ``of`` one
    beside ``folder``, whose crops pass as many blocks as ``embed_block`` says. A ``point`` is taken from the folder of
    the model that it was kept of.

    Raises
    ------
    ConfigError
        The model cannot be built of this configuration.
    DataError
        Weights that are named are missing, damaged, or of other channels or crops.
    """
    if spec["family"] in ("saved", "point"):
        _adopt(spec, channels=channels, crop_size=crop_size, folder=folder)
        return
    encoder = _build(spec, len(channels), crop_size)
    if (load := family_of(spec).load) is not None:
        load(encoder, spec)
    save_encoder(folder, encoder, spec=spec, channels=channels, crop_size=crop_size)


def point_folder(model: Path, point: Mapping[str, Any]) -> Path:
    """Return where a model keeps what it was after some ``crops``."""
    return model / "points" / str(point["crops"])


def takes(record: Mapping[str, Any], channels: Sequence[str], crop_size: int) -> bool:
    """Say whether a model, as :func:`read_model` describes it, embeds crops of these channels and this size."""
    fits = family_of(record["spec"]).any_channels or list(channels) == record["channels"]
    return fits and crop_size == record["crop_size"]


def _adopt(spec: Mapping[str, Any], *, channels: Sequence[str], crop_size: int, folder: str | Path) -> None:
    """Copy a model from elsewhere, so that the run holds all that its embeddings come from.

    It embeds by the block that ``spec`` names, and a point as its model does now.
    """
    of = spec.get("of")
    model = Path(spec["weights"]) if of is None else Path(folder).parent / of
    source = point_folder(model, spec) if spec["family"] == "point" else model
    try:
        made, record, taken = read_model(model)["spec"], read_model(source), load_encoder(source)
    except DamagedError as error:
        raise DataError(str(error)) from None  # nothing is deleted in another run
    if not takes(record, channels, crop_size):
        raise DataError(
            f"{source} embeds crops of {record['crop_size']} pixels and the channels {', '.join(record['channels'])}, "
            f"the screen has {crop_size} and {', '.join(channels)}: change tiles.size or screen.channels"
        )
    made = at_block(made, spec.get("embed_block"))
    encoder = _build(made, len(record["channels"]), crop_size)
    encoder.load_state_dict(cast("nn.Module", taken).state_dict())
    save_encoder(
        folder,
        encoder,
        spec=made,
        channels=record["channels"],
        crop_size=crop_size,
        plates=record["plates"],
        training=record["training"],
        of=of,
    )


def _build(spec: Mapping[str, Any], channels: int, crop_size: int) -> "nn.Module":
    """Build an encoder with the random weights of its seed, and leave torch's random numbers as they were."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.get("seed", 0))
        return build_encoder(spec, channels=channels, crop_size=crop_size)
