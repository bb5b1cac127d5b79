import numpy as np
import torch
from torch.nn import functional

from cellmae.models.patches import SelfStandardise, from_patches, sincos_positions, take_tokens, to_patches


def crops(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_standardising_is_the_papers_instance_norm():
    pixels = crops(3, 2, 8, 8)
    expected = functional.instance_norm(pixels.float() / 255, eps=1e-5)
    torch.testing.assert_close(SelfStandardise()(pixels), expected, rtol=1e-5, atol=1e-6)


def test_standardising_keeps_low_contrast_in_bounds_and_leaves_its_input():
    """Next to no contrast is damped by epsilon, as in instance norm, and a flat channel is zero, not NaN."""
    pixels = torch.full((1, 2, 8, 8), 100.0)
    pixels[0, 1, 0, 0] = 101.0
    before = pixels.clone()
    standardised = SelfStandardise()(pixels)
    torch.testing.assert_close(standardised, functional.instance_norm(before / 255, eps=1e-5), rtol=1e-4, atol=1e-5)
    assert (standardised[0, 0] == 0).all()
    assert torch.equal(pixels, before)


def test_patches_are_rows_of_the_image_and_go_back():
    images = crops(2, 3, 12, 12)
    patches = to_patches(images, 4)
    assert patches.shape == (2, 9, 48)
    assert torch.equal(patches[1, 5].view(3, 4, 4), images[1, :, 4:8, 8:12])
    assert torch.equal(from_patches(patches, 4, 3), images)


def test_tokens_are_taken_sample_by_sample():
    tokens = torch.arange(12.0).view(2, 3, 2)
    taken = take_tokens(tokens, torch.tensor([[2, 0], [1, 1]]))
    assert torch.equal(taken, torch.stack([tokens[0, [2, 0]], tokens[1, [1, 1]]]))


def test_positions_follow_the_formula():
    positions = sincos_positions(4, 16).numpy()[0]
    frequencies = 1 / 10_000 ** (np.arange(4) / 4)
    row, column = 2, 3
    angles = [column * frequencies, row * frequencies]
    expected = np.concatenate([f(angle) for angle in angles for f in (np.sin, np.cos)])
    np.testing.assert_allclose(positions[row * 4 + column], expected, atol=1e-6)
    assert len(np.unique(positions.round(5), axis=0)) == 16
