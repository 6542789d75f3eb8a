"""Claims about the shares of mixed images."""

import pytest
import torch

from capsnet.augment.mixup import Mixup, mix


def test_a_mixture_is_the_weighted_mean_of_two():
    own, others, shares = torch.rand(3, 1, 4, 5), torch.rand(3, 1, 4, 5), torch.tensor([1.0, 0.75, 0.5])
    expected = torch.stack([share * a + (1 - share) * b for share, a, b in zip(shares, own, others, strict=True)])
    torch.testing.assert_close(mix(own, others, shares), expected)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_have_the_moments_of_the_beta_distribution(alpha):
    others, shares = Mixup(alpha).draw(100_000, torch.Generator().manual_seed(0))
    assert (shares >= 0.5).all()
    variance = 1 / (4 * (2 * alpha + 1))  # of Beta(alpha, alpha), whose mean is 1/2
    assert float((shares - 0.5).square().mean()) == pytest.approx(variance, rel=0.02)  # folded: the same second moment
    assert others.unique().numel() > 50_000
    assert abs(float(others.double().mean()) - 50_000) < 6 * 100_000 / 12**0.5 / 100_000**0.5


def test_a_tiny_alpha_leaves_images_almost_as_they_are():
    _, shares = Mixup(0.001).draw(1000, torch.Generator().manual_seed(0))
    assert shares.isfinite().all()
    assert (shares > 0.99).double().mean() > 0.95
