"""Checkpoints that cannot be read; tests/parity holds what comes of one that can."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cellmae.errors import ConfigError, DataError
from cellmae.models.openphenom import _layout, build_openphenom, build_openphenom_encoder, load_openphenom

pytestmark = pytest.mark.slow

HEAD_BIAS = "decoder_pred.bias"


def layout() -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return _layout(build_openphenom(channels=1))


def constant(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Weights of the full layout that take no space in a file: each is one number, repeated."""
    return {name: torch.tensor(0.5, dtype=dtype).expand(shape) for name, shape in layout().items()}


def write_config(folder: Path, **changes) -> None:
    config = {"model_type": "MAE", "architectures": ["MAEModel"], "mask_ratio": 0.75} | changes
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture
def folder(tmp_path) -> Path:
    write_config(tmp_path)
    return tmp_path


@pytest.fixture
def write(folder) -> Callable[[dict[str, torch.Tensor]], Path]:
    """Write weights as the authors' code does."""

    def write_weights(weights: dict[str, torch.Tensor]) -> Path:
        torch.save({"state_dict": weights}, folder / "model.safetensors")
        return folder

    return write_weights


def test_the_layout_is_that_of_the_authors_modules(test_data):
    published = json.loads((test_data / "expected" / "openphenom_s16_keys.json").read_text())
    assert layout() == {name: tuple(shape) for name, shape in published.items()}


def test_what_is_asked_for_is_what_comes(write):
    torch.manual_seed(0)
    chance = torch.get_rng_state()
    model = load_openphenom(write(constant()), channels=4, per_channel=True, embed_block=7)
    assert not model.training
    assert (model.encoder.channels, model.encoder.dim) == (4, 4 * 384)
    assert model.encoder.architecture.embed_block == 7
    assert (model.channels, model.seen) == (6, 384)
    assert all((value == 0.5).all() for value in model.state_dict().values())
    assert torch.equal(torch.get_rng_state(), chance)


def test_the_encoder_alone_takes_the_weights(write):
    """So that it can be saved and built again without the decoder."""
    read = load_openphenom(write(constant()), channels=6).encoder
    alone = build_openphenom_encoder(channels=3)
    alone.load_state_dict(read.state_dict())
    assert alone.tokens == 3 * 256


def test_the_mask_ratio_is_the_checkpoints(folder, write):
    write_config(folder, mask_ratio=0.5)
    assert load_openphenom(write(constant()), channels=6).seen == 768


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 12}, "screen.channels: found 12, expected 1 to 11"),
        ({"channels": 0}, "screen.channels: found 0"),
        ({"channels": 6, "embed_block": 13}, "models.embed_block: found 13, expected one of the blocks 1 to 12"),
        ({"channels": 6, "embed_block": 0}, "models.embed_block: found 0"),
    ],
)
def test_what_it_cannot_do_is_refused_before_the_weights_are_read(write, options, message):
    with pytest.raises(ConfigError, match=message):
        load_openphenom(write({}), **options)


def test_crops_of_another_size_are_refused():
    with pytest.raises(ConfigError, match=r"tiles\.size: found 128, expected 256"):
        build_openphenom_encoder(channels=6, crop_size=128)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_files_are_named(write, name):
    folder = write({})
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"{name} is missing: expected config.json and model.safetensors"):
        load_openphenom(folder, channels=6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "config.json is not JSON"),
        ('{"model_type": "vit"}', "found model_type 'vit', expected 'MAE'"),
        ("[1]", "of another model"),
        ('{"model_type": "MAE"}', "found mask_ratio None"),
        ('{"model_type": "MAE", "mask_ratio": 1.5}', "found mask_ratio 1.5, expected a number between 0 and 1"),
    ],
)
def test_a_configuration_of_something_else_is_refused(write, text, message):
    folder = write({})
    (folder / "config.json").write_text(text)
    with pytest.raises(DataError, match=message):
        load_openphenom(folder, channels=6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no checkpoint: it starts with b''"),
        (b"\x80\x02}q\x00.", "is no checkpoint"),  # a bare pickle
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS.*git lfs pull"),
        (b"PK\x03\x04 and no more", "damaged or holds more than weights"),
        ((1000).to_bytes(8, "little") + b"{", "is damaged"),
        (b"<!DOCTYPE html>", "is no checkpoint"),
    ],
)
def test_files_that_are_no_checkpoint_are_refused(folder, content, message):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        load_openphenom(folder, channels=6)
    assert "\n" not in str(error.value)


def test_a_file_that_runs_code_when_unpickled_is_not_read(folder):
    class Malicious:
        def __reduce__(self):
            return (folder / "ran").touch, ()

    torch.save({"state_dict": {HEAD_BIAS: Malicious()}}, folder / "model.safetensors")
    with pytest.raises(DataError, match="holds more than weights"):
        load_openphenom(folder, channels=6)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("content", [{"model": {}}, {"state_dict": {HEAD_BIAS: 3}}, [1, 2]])
def test_an_archive_without_weights_is_refused(folder, content):
    torch.save(content, folder / "model.safetensors")
    with pytest.raises(DataError, match="holds no weights under 'state_dict'"):
        load_openphenom(folder, channels=6)


@pytest.mark.parametrize("name", list(layout())[::150])
def test_a_missing_weight_is_named(write, name):
    weights = constant()
    del weights[name]
    with pytest.raises(DataError, match=f"does not hold the 765 weights of OpenPhenom-S/16: it lacks {name};"):
        load_openphenom(write(weights), channels=6)


def test_an_unknown_weight_is_named(write):
    weights = constant() | {"encoder.vit_backbone.norm.weight": torch.ones(384)}
    with pytest.raises(DataError, match=r"it has unknown 'encoder\.vit_backbone\.norm\.weight';"):
        load_openphenom(write(weights), channels=6)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("encoder.vit_backbone.pos_embed", torch.ones(1, 1537, 384), r"pos_embed \(1, 1537, 384\)"),
        ("encoder.vit_backbone.patch_embed.proj.weight", torch.ones(384, 256), r"for \(384, 1, 16, 16\)"),
        ("decoder.pos_embeddings", torch.ones(1, 1536, 512), r"for \(1, 1537, 512\)"),
        (HEAD_BIAS, torch.ones(256, dtype=torch.int64), r"bias \(256,\) int64 for \(256,\) float32"),
    ],
)
def test_weights_of_another_shape_or_kind_are_named(write, name, value, message):
    with pytest.raises(DataError, match=message):
        load_openphenom(write(constant() | {name: value}), channels=6)


def test_all_that_is_wrong_is_said_in_one_short_line(folder):
    save_file({f"blocks.{number}": torch.ones(1) for number in range(5)}, folder / "model.safetensors")
    with pytest.raises(DataError) as error:
        load_openphenom(folder, channels=6)
    message = str(error.value)
    assert "and 762 more; it has unknown 'blocks.0', 'blocks.1', 'blocks.2' and 2 more;" in message
    assert "\n" not in message
    assert len(message.removeprefix(str(folder))) < 400


def test_half_precision_becomes_float32(write):
    model = load_openphenom(write(constant(torch.bfloat16)), channels=6)
    assert all(value.dtype == torch.float32 for value in model.state_dict().values())
