import numpy as np
import torch

from cellmae.pretraining.randomness import masking_noise, orient, orientations, path_draws


def test_chance_depends_on_seed_and_step_alone():
    noise = masking_noise(1, 2, batch_size=4, tokens=9)
    np.random.default_rng(0).random(7)  # whatever else draws numbers in between
    assert np.array_equal(masking_noise(1, 2, batch_size=4, tokens=9), noise)
    for seed, step in [(1, 3), (2, 2), (2, 1)]:
        assert not np.isin(masking_noise(seed, step, batch_size=4, tokens=9), noise).any()


def test_a_samples_chance_does_not_depend_on_the_batch_around_it():
    assert np.array_equal(masking_noise(1, 2, batch_size=9, tokens=5)[:4], masking_noise(1, 2, batch_size=4, tokens=5))
    assert np.array_equal(orientations(1, 2, batch_size=9)[:4], orientations(1, 2, batch_size=4))


def test_masks_and_turns_share_no_numbers():
    """Else a flip would always come with the same kind of mask."""
    noise = masking_noise(1, 2, batch_size=300, tokens=3)
    turns = orientations(1, 2, batch_size=300)
    assert abs(np.corrcoef(noise[:, 0], turns[:, 0])[0, 1]) < 0.2


def test_all_eight_orientations_occur_and_are_what_they_say():
    turns = orientations(0, 0, batch_size=64)
    assert len(np.unique(turns, axis=0)) == 8
    crops = torch.arange(64 * 2 * 16).view(64, 2, 4, 4)
    turned = orient(crops, torch.from_numpy(turns)).numpy()
    for crop, result, (flip_y, flip_x, transpose) in zip(crops.numpy(), turned, turns, strict=True):
        expected = crop[:, ::-1] if flip_y else crop
        expected = expected[:, :, ::-1] if flip_x else expected
        expected = expected.transpose(0, 2, 1) if transpose else expected
        assert np.array_equal(result, expected)


def test_dropped_paths_follow_seed_step_and_crop():
    draws = path_draws(3, 1, batch_size=6, paths=2)
    assert np.array_equal(path_draws(3, 1, batch_size=4, paths=2), draws[:4])
    assert not np.isin(path_draws(3, 2, batch_size=6, paths=2), draws).any()
    assert not np.isin(masking_noise(3, 1, batch_size=6, tokens=2), draws).any()
