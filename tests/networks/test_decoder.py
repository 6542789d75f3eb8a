"""Claims about the decoder: whose capsule it draws."""

import torch

from capsnet import CapsNet
from capsnet.networks.decoder import Decoder

SMALL = {"conv_channels": 8, "primary_capsules": 2, "primary_dim": 4, "class_dim": 6}


def test_only_the_labelled_capsule_is_drawn():
    network = CapsNet(**SMALL).eval()
    images, labels = torch.rand(3, 1, 28, 28), torch.tensor([4, 0, 9])
    output = network(images, labels)
    others = torch.ones_like(output.scores, dtype=torch.bool).scatter_(1, labels[:, None], False)
    changed = torch.where(others.unsqueeze(-1), torch.randn_like(output.capsules), output.capsules)
    torch.testing.assert_close(network.decode(changed, labels), output.reconstruction)
    assert not torch.allclose(network.decode(output.capsules, (labels + 1) % 10), output.reconstruction)


def test_images_have_the_given_shape_and_values_between_zero_and_one():
    drawn = Decoder(num_classes=3, class_dim=4, image_shape=(3, 5, 7))(torch.randn(2, 3, 4) * 50, torch.tensor([0, 2]))
    assert drawn.shape == (2, 3, 5, 7)
    assert ((drawn >= 0) & (drawn <= 1)).all()
