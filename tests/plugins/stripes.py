"""A plugin: a network without capsules or decoder, a dataset of coloured stripes, a mean routing, two augmentations."""

from dataclasses import dataclass

import torch
from mean_routing import MeanRouting
from torch import nn

from capsnet import Output, setting


class TinyNetwork(nn.Module):
    def __init__(self, image_shape, num_classes, width):
        super().__init__()
        channels, height, width_in_pixels = image_shape
        pixels = channels * height * width_in_pixels
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, num_classes))

    def forward(self, images, labels=None):
        return Output(self.layers(images).sigmoid())


@dataclass
class Tiny:
    width: int = 16

    def build(self, image_shape, num_classes, routing):
        return TinyNetwork(image_shape, num_classes, **vars(self))


class StripesSource:
    class_names = ("one", "two", "three", "four", "five")

    def train(self):
        return self._stripes(200, seed=0)

    def test(self):
        return self._stripes(50, seed=1)

    @staticmethod
    def _stripes(count, seed):
        labels = torch.arange(count) % 5
        generator = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 60, (count, 3, 20, 24), generator=generator, dtype=torch.uint8)
        for image, label in zip(images, labels.tolist(), strict=True):
            image[:, 4 * label : 4 * label + 4] = 255
        return images, labels


@dataclass
class Stripes:
    def build(self):
        return StripesSource()


@dataclass
class Mean:
    gain: float = setting(1.0, "factor on the mean", above=0)

    def build(self, in_caps, in_dim, out_caps, out_dim):
        return MeanRouting(in_dim, out_caps, out_dim, **vars(self))


@dataclass
class Fade:
    share: float = setting(0.3, "share of the brightness that an image may lose", at_least=0, at_most=1)

    def build(self):
        def fade(images, generator):
            return images * (1 - self.share * torch.rand(len(images), 1, 1, 1, generator=generator))

        return fade


@dataclass
class Noise:
    def build(self):
        def add_noise(images, generator):
            return (images + 0.1 * torch.randn(images.shape, generator=generator)).clamp(0, 1)

        return add_noise


OPTIONS = {
    "model": {"tiny": Tiny},
    "data": {"stripes": Stripes},
    "routing": {"mean": Mean},
    "augment": {"fade": Fade, "noise": Noise},
}
