import pytest

from cellmae.errors import ConfigError
from cellmae.pretraining import Plan
from cellmae.pretraining.plan import training_keys


def test_the_last_step_is_taken_even_if_it_sees_crops_beyond_the_total():
    assert Plan(crops_total=100, batch_size=48).steps == 3


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        ({"pach": 8}, r"models\.pach: unknown key"),
        ({"mask_ratio": 1.0}, r"models\.mask_ratio"),
        ({"fourier_weight": -0.1}, r"models\.fourier_weight"),
        ({"warmup": 1.0}, r"models\.warmup"),
        ({"crops_total": 0}, r"models\.crops_total"),
        ({"optimizer": "sgd"}, r"models\.optimizer"),
        ({"precision": "float16"}, r"models\.precision"),
    ],
)
def test_what_cannot_be_carried_out_names_its_key(spec, key):
    with pytest.raises(ConfigError, match=key):
        Plan.from_spec({"family": "mae"} | spec)


def test_keys_that_do_not_touch_the_weights_do_not_count_as_another_training():
    spec = {"family": "mae", "seed": 1}
    assert training_keys(spec | {"checkpoint_minutes": 1, "embed_block": 2, "refit": True, "plates": ["p"]}) == spec
