"""Which plates a model or an alignment is fitted on, as plates come and go."""

import pytest

from cellmae.errors import ConfigError
from cellmae.files import write_manifest
from cellmae.fitted import embedded_alike, fitted_plates, remember_plates, spread_plates


@pytest.fixture
def record(tmp_path):
    return tmp_path / "plates.json"


def plates_of_a_fit(record, current, *, kept=(), **options):
    return fitted_plates(record, current, key="models.mae", is_kept=lambda plate: plate in kept, **options)


def test_the_first_fit_takes_all_plates(record):
    assert plates_of_a_fit(record, ["a", "b"]) == ["a", "b"]


def test_later_plates_are_not_fitted_on(record):
    remember_plates(record, ["a"])
    assert plates_of_a_fit(record, ["a", "b"]) == ["a"]
    assert plates_of_a_fit(record, ["a", "b"], refit=True) == ["a", "b"]


def test_removed_plates_count_as_long_as_their_results_are_kept(record):
    remember_plates(record, ["a", "b"])
    assert plates_of_a_fit(record, ["a", "c"], kept=["b"]) == ["a", "b"]
    assert plates_of_a_fit(record, ["a", "c"]) == ["a"]
    assert plates_of_a_fit(record, ["c"]) == ["c"]  # none of the fit is left


def test_listed_plates_come_first(record):
    remember_plates(record, ["a"])
    assert plates_of_a_fit(record, ["a", "b"], listed=["b"]) == ["b"]
    assert plates_of_a_fit(record, ["a"], listed=["b"], kept=["b"]) == ["b"]
    with pytest.raises(ConfigError, match=r"^models.mae.plates: found 'c', expected plates among a, b$"):
        plates_of_a_fit(record, ["a", "b"], listed=["a", "c"])


def test_some_plates_come_evenly_from_all_batches_and_stay_the_same(record):
    batches = {"a1": "a", "a2": "a", "a3": "a", "b1": "b", "b2": "b"}
    assert spread_plates(record, batches, 1, key="models.mae") == ["a1"]
    assert spread_plates(record, batches, 4, key="models.mae") == ["a1", "a2", "b1", "b2"]
    with pytest.raises(ConfigError, match=r"^models.mae.plates: found 6, expected at most 5, as many as there are$"):
        spread_plates(record, batches, 6, key="models.mae")
    remember_plates(record, ["a2", "a3", "validation"])
    assert spread_plates(record, batches, 2, key="models.mae") == ["a2", "a3"]
    assert spread_plates(record, batches, 3, key="models.mae") == ["a1", "a2", "b1"]


def test_plates_of_other_weights_are_left_out(tmp_path):
    paths = [tmp_path / f"{plate}.json" for plate in "abc"]
    for path, weights in zip(paths, ["new", "old", "new"], strict=True):
        write_manifest(path, stage="embeddings", version=1, digest="", weights_digest=weights)
    assert embedded_alike(paths) == [True, False, True]
