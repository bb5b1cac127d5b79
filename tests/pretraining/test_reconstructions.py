import numpy as np
import torch
from PIL import Image

from cellmae.models import MaskedAutoencoder, ViTEncoder, read_architecture
from cellmae.pretraining.reconstructions import channel_colours, composite, draw_reconstructions


def test_composites_span_black_to_full_colour():
    colours = channel_colours(2)
    image = np.array([[[0.0, 2.0, 9.0]], [[0.0, 0.0, 0.0]]])
    mixed = composite(image, colours, low=np.array([0.0, 0.0]), high=np.array([2.0, 1.0]))
    assert np.array_equal(mixed[0, 0], [0, 0, 0])
    assert np.array_equal(mixed[0, 1], mixed[0, 2])  # what is brighter than full colour stays there
    assert mixed[0, 1].max() == 1


def test_a_flat_channel_can_be_shown():
    mixed = composite(np.zeros((1, 2, 2)), channel_colours(1), low=np.zeros(1), high=np.zeros(1))
    assert np.isfinite(mixed).all()


def test_colours_are_told_apart():
    for count in (1, 3, 6, 12):
        assert len(np.unique(channel_colours(count).round(2), axis=0)) == count


def test_a_figure_is_drawn(tmp_path):
    encoder = ViTEncoder(read_architecture({"patch": 8}, crop_size=32), channels=3, crop_size=32)
    draw_reconstructions(
        tmp_path / "figure.png",
        MaskedAutoencoder(encoder, mask_ratio=0.75).eval(),
        torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8),
        torch.rand(2, 16),
        channels=["nuclei", "actin", "tubulin"],
    )
    pixels = np.asarray(Image.open(tmp_path / "figure.png").convert("RGB"))
    assert pixels.shape[1] > 2 * 300
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
