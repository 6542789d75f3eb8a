"""How several processes share a machine."""

import os

import pytest
import torch

from capsnet.processes import one_gpu_of_several


@pytest.mark.parametrize(
    ("visible", "number", "count", "chosen"),
    [("", 0, 4, "0"), ("", 6, 4, "2"), ("5,7", 1, 2, "7"), ("5", 3, 1, "5"), ("", 2, 0, "")],
)
def test_jobs_take_the_gpus_in_turn(monkeypatch, visible, number, count, chosen):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    one_gpu_of_several(number)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == chosen
