"""Claims about shifts, held against loops over single images."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from capsnet.augment.shift import Shift, shift


@settings(max_examples=40)
@given(max_shift=st.integers(1, 7), channels=st.sampled_from([1, 3]), seed=st.integers(0, 100))
def test_every_image_moves_by_its_own_draw_and_is_filled_with_zero(max_shift, channels, seed):
    images = torch.randint(1, 256, (6, channels, 9, 7), dtype=torch.uint8)
    shifts = Shift(max_shift).draw(6, 9, 7, torch.Generator().manual_seed(seed))
    expected = torch.zeros_like(images)
    for image in range(6):
        down, right = shifts[image].tolist()
        for row in range(9):
            for column in range(7):
                if 0 <= row - down < 9 and 0 <= column - right < 7:
                    expected[image, :, row, column] = images[image, :, row - down, column - right]
    moved = shift(images, shifts)
    assert moved.dtype == torch.uint8
    assert torch.equal(moved, expected)
