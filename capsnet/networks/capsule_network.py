"""What capsule networks have in common: lengths of class capsules as scores, and a decoder that draws one of them."""

from typing import Any

import torch
from torch import Tensor, nn

from ..output import Output


class CapsuleNetwork(nn.Module):
    """Images to class capsules, and from one of them back to an image. A subclass builds the parts."""

    image_shape: tuple[int, int, int]
    stem: nn.Module
    """[batch, *image_shape] -> features [batch, channels, height, width]."""
    primary: nn.Module
    """Features -> primary capsules [batch, in_caps, in_dim]."""
    routing: nn.Module
    """Primary capsules -> class capsules [batch, classes, class_dim]."""
    decoder: nn.Module
    """Class capsules, and labels [batch] -> images."""

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Output:
        """Encode images into class capsules, and decode one capsule of each.

        Args:
            images: [batch, *image_shape], values in [0, 1].
            labels: [batch], the class whose capsule is decoded, or class probabilities [batch, classes], by which
                capsules are weighted; None decodes the longest capsule.

        Raises:
            ValueError: the images are not of `image_shape`.
        """
        check_shape(images, self.image_shape)
        capsules = self.encode(images)
        lengths = torch.linalg.vector_norm(capsules, dim=-1)
        decoded = lengths.argmax(1) if labels is None else labels
        return Output(lengths, capsules, self.decode(capsules, decoded))

    def encode(self, images: Tensor) -> Tensor:
        """[batch, *image_shape] -> class capsules [batch, classes, class_dim]."""
        return self.routing(self.primary(self.stem(images)))

    def decode(self, capsules: Tensor, labels: Tensor) -> Tensor:
        """Draw the capsules of `labels` [batch] out of `capsules` [batch, classes, class_dim] as images."""
        return self.decoder(capsules, labels)


def check_shape(images: Tensor, image_shape: tuple[int, int, int]) -> None:
    """Raise ValueError if images are not [batch, *image_shape]."""
    if images.shape[1:] != image_shape:
        raise ValueError(f"expected images [batch, {', '.join(map(str, image_shape))}], got {list(images.shape)}")


def build_routing(routing: Any, in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> nn.Module:
    """The routing between two layers of capsules.

    Args:
        routing: a class such as `DynamicRouting`, or a function, which is called with the four numbers; or an option of
            `capsnet.settings.routing`, whose method `build` is called with them.
        in_caps, in_dim: number and dimensions of the input capsules.
        out_caps, out_dim: number and dimensions of the output capsules.
    """
    if isinstance(routing, str):
        raise ValueError(f"routing={routing!r}: give the class, such as capsnet.routing.dynamic.DynamicRouting")
    return getattr(routing, "build", routing)(in_caps, in_dim, out_caps, out_dim)
