import pytest

from cellmae.errors import ConfigError
from cellmae.models import SIZES, read_architecture


def test_what_is_missing_or_null_comes_from_the_size():
    architecture = read_architecture(
        {"size": "small", "layer_scale": None, "decoder_depth": 4, "patch": 8}, crop_size=64
    )
    assert architecture.layer_scale == SIZES["small"].layer_scale
    assert (architecture.width, architecture.decoder_width, architecture.decoder_depth) == (384, 512, 4)
    assert architecture.patch == 8


def test_zero_is_a_value():
    assert read_architecture({"size": "base", "drop_path": 0, "layer_scale": 0}, crop_size=64).drop_path == 0


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        ({"size": "huge"}, "models.size"),
        ({"patch": 10}, r"models.patch: 10 does not divide .* 64 .*tiles.size.*4, 8, 16, 32"),
        ({"patch": 8, "embed_block": 5}, "models.embed_block"),
        ({"patch": 8, "embed_block": 0}, "models.embed_block"),
        ({"patch": 8, "decoder_width": 60, "decoder_heads": 8}, "models.decoder_width"),
    ],
)
def test_what_cannot_be_built_names_its_key(spec, key):
    with pytest.raises(ConfigError, match=key):
        read_architecture(spec, crop_size=64)
