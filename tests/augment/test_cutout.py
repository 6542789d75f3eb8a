"""Claims about cutout, held against loops over single images."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from capsnet.augment.cutout import Cutout, cutout


@given(size=st.integers(1, 9), channels=st.sampled_from([1, 3]), seed=st.integers(0, 100))
def test_one_square_of_each_image_is_blank_clipped_at_the_border(size, channels, seed):
    images = torch.randint(1, 256, (6, channels, 9, 7), dtype=torch.uint8)
    centres = Cutout(size).draw(6, 9, 7, torch.Generator().manual_seed(seed))
    expected = images.clone()
    for image in range(6):
        row, column = (centre - size // 2 for centre in centres[image].tolist())
        expected[image, :, max(row, 0) : row + size, max(column, 0) : column + size] = 0
    assert torch.equal(cutout(images, centres, size), expected)
