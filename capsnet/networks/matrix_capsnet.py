"""Matrix capsules (Hinton, Sabour & Frosst 2018): one trunk for all routings of poses and activations."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..output import Output
from ..routing.em import EMRouting
from ..routing.matrices import LayerVotes, Routed
from .capsule_network import check_shape
from .conv_capsules import POSE, SIDE, Capsules, ConvCapsules, adjust_layers
from .decoder import DECODERS
from .window import Window, reach, window_of

STEM_KERNEL = 5
KERNEL = 3  # of the convolutional capsules
STRIDES = (2, 1)  # of the two layers of convolutional capsules


class MatrixPrimaryCapsules(nn.Module):
    """A 1x1 convolution whose channels are read as poses and, if wanted, the logits of activations.

    Args:
        in_channels: of the features.
        types: of capsules.
        activations: capsules have activations of their own; without, they are 1.
        batch_norm: normalize poses and activations, each by type.
    """

    def __init__(self, in_channels: int, types: int, activations: bool = True, batch_norm: bool = False):
        super().__init__()
        self.types, self.activations = types, activations
        self.conv = nn.Conv2d(in_channels, types * (POSE + activations), 1, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="linear")
        self.pose_norm = nn.BatchNorm3d(types) if batch_norm else None
        self.activation_norm = nn.BatchNorm2d(types) if batch_norm and activations else None

    def forward(self, features: Tensor) -> Capsules:
        """[batch, channels, rows, columns] -> capsules of as many rows and columns."""
        channels = self.conv(features)
        channels = channels.to(torch.promote_types(channels.dtype, torch.float32))  # routing needs the precision
        poses = channels[:, : self.types * POSE].unflatten(1, (self.types, POSE))
        if self.pose_norm is not None:
            poses = self.pose_norm(poses)
        poses = poses.movedim(2, 4).unflatten(4, (SIDE, SIDE))
        if not self.activations:
            return Capsules(poses, torch.ones_like(poses[..., 0, 0]))
        logits = channels[:, self.types * POSE :]
        if self.activation_norm is not None:
            logits = self.activation_norm(logits)
        return Capsules(poses, logits.sigmoid())


class MatrixCapsNet(nn.Module):
    """Convolution, primary capsules, two layers of convolutional capsules, and class capsules that see the whole map.

    The transformation matrices of the class capsules are the same at all places, whose coordinates are added to the
    votes. Scores are the activations of the class capsules; of a routing whose capsules have none, the softmax over
    classes of one linear function of their poses.

    Args:
        image_shape: (channels, height, width); height and width at least 18, or 23 without padding.
        num_classes: number of class capsules.
        conv_channels: channels of the convolution, A of the paper.
        conv_stride: its stride; 2 in the papers.
        primary_capsules: types of primary capsules, B of the paper.
        first_capsules, second_capsules: types of convolutional capsules, C and D of the paper.
        batch_norm: normalize features and primary capsules; the convolution then has no bias.
        pad: add zeros below and on the right of the image, so that the strides leave out no row or column; the papers'
            networks leave some out.
        coordinates: add places to the votes for class capsules.
        decoder: auto, dense, convolutional or light, see `decoder.py`; None: images are not drawn.
        dropout: probability of dropping a unit of the decoder's hidden layers in training.
        routing: makes the routing of a layer, see `ConvCapsules`.

    Raises:
        ValueError: the image is too small.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        num_classes: int = 10,
        conv_channels: int = 64,
        conv_stride: int = 3,
        primary_capsules: int = 8,
        first_capsules: int = 16,
        second_capsules: int = 16,
        batch_norm: bool = True,
        pad: bool = True,
        coordinates: bool = True,
        decoder: str | None = None,
        dropout: float = 0.0,
        routing: Any = EMRouting,
    ):
        super().__init__()
        channels, height, width = self.image_shape = tuple(image_shape)
        self.padding = tuple(_missing(side, conv_stride) if pad else 0 for side in (height, width))
        sides = [
            (side + more - STEM_KERNEL) // conv_stride + 1
            for side, more in zip((height, width), self.padding, strict=True)
        ]
        least = KERNEL + STRIDES[0] * (KERNEL - 1)
        if min(sides) < least:
            need = STEM_KERNEL + conv_stride * (least - 1)
            need = next(side for side in range(need + 1) if side + (_missing(side, conv_stride) if pad else 0) >= need)
            raise ValueError(f"images of {height}x{width} pixels are too small: the layers need at least {need}x{need}")
        convolution = nn.Conv2d(channels, conv_channels, STEM_KERNEL, conv_stride, bias=not batch_norm)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        norm = [nn.BatchNorm2d(conv_channels)] if batch_norm else []
        self.stem = nn.Sequential(convolution, *norm, nn.ReLU(inplace=True))
        if not batch_norm:
            nn.init.zeros_(convolution.bias)
        first = ConvCapsules(primary_capsules, first_capsules, sides, KERNEL, STRIDES[0], routing=routing)
        second = ConvCapsules(first_capsules, second_capsules, first.grid, KERNEL, STRIDES[1], routing=routing)
        whole = {"size": second.grid, "kernel": second.grid, "shared": True, "coordinates": coordinates}
        classes = ConvCapsules(second_capsules, num_classes, **whole, routing=routing)
        own = classes.routing.uses_activations
        self.primary = MatrixPrimaryCapsules(conv_channels, primary_capsules, own, batch_norm)
        self.layers = nn.ModuleList([first, second, classes])
        self.classifier = None if own else nn.Linear(POSE, 1)
        self.decoder = None if decoder is None else DECODERS[decoder](num_classes, POSE, self.image_shape, dropout)
        adjust_layers([first, second, classes])

    @property
    def routing(self) -> nn.Module:
        """Of the class capsules."""
        return self.layers[-1].routing

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Output:
        """Encode images into class capsules, and decode one capsule of each, if there is a decoder.

        Args:
            images: [batch, *image_shape], values in [0, 1].
            labels: [batch], the class whose capsule is decoded, or class probabilities [batch, classes], by which
                capsules are weighted; None decodes the capsule with the largest score.

        Raises:
            ValueError: the images are not of `image_shape`.
        """
        check_shape(images, self.image_shape)
        poses, activations = self.encode(images)
        if self.decoder is None:
            return Output(activations, poses, None, activations)
        decoded = activations.argmax(1) if labels is None else labels
        return Output(activations, poses, self.decode(poses, decoded), activations)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[batch, *image_shape] -> class capsules: poses [batch, classes, 16] and activations [batch, classes]."""
        poses, activations = self.classes(self.all_layers(images)[-1])
        # Self-routing's activations do not depend on the votes. Without a decoder, the last matrices would have no
        # gradient at all, instead of 0, and training in several processes refuses that.
        return poses, activations + 0 * poses.sum(2)

    def classes(self, capsules: Capsules) -> tuple[Tensor, Tensor]:
        """The last layer as poses [batch, classes, 16] and activations [batch, classes]."""
        poses, activations = capsules.poses.flatten(2), capsules.activations.flatten(1)
        if self.classifier is not None:
            with torch.autocast(poses.device.type, enabled=False):
                activations = self.classifier(poses).squeeze(2).softmax(1)
        return poses, activations

    def all_layers(self, images: Tensor, passes: int | None = None) -> list[Capsules]:
        """Primary, first and second convolutional, and class capsules.

        Args:
            images: [batch, *image_shape].
            passes: of a routing whose passes go through all layers in turn; None: all of them.
        """
        below, right = self.padding
        primary = self.primary(self.stem(F.pad(images, (0, right, 0, below))))
        layers = self._pass(primary)
        for _ in range((passes or self.routing.passes) - 1):
            layers = self._pass(primary, layers)
        return [primary, *layers]

    def class_routing(self, images: Tensor) -> list[tuple[LayerVotes, Routed]]:
        """The iterations of the routing to the class capsules: what it is given, and what it makes of it; not for
        training. The last one's capsules are the network's."""
        layer, routing = self.layers[-1], self.routing
        if routing.passes == 1:
            votes = layer.layer_votes(self.all_layers(images)[-2])
            return [(votes, layer.finished(routing(votes, iters))) for iters in range(1, routing.iters + 1)]
        steps = []
        for number in range(1, routing.passes + 1):
            _, _, children, before = self.all_layers(images, max(1, number - 1))
            votes = layer.layer_votes(children)
            routed = routing(votes, 1) if number == 1 else routing(votes, 1, layer.flat(before))
            steps.append((votes, layer.finished(routed)))
        return steps

    def window(self) -> Window:
        """Where each place of the last convolutional capsules looks."""
        windows = [layer.windows for layer in self.layers[:-1]]
        return window_of([reach(self.stem[0]), *((one.kernel[0], one.stride, 0) for one in windows)])

    def _pass(self, primary: Capsules, before: list[Capsules] | None = None) -> list[Capsules]:
        """One pass through the layers. With what an earlier pass left, each layer starts from the one below in it."""
        if before is None:
            capsules = primary
            return [capsules := layer(capsules) for layer in self.layers]
        children = [primary, *before[:-1]]
        return [layer(below, own) for layer, below, own in zip(self.layers, children, before, strict=True)]

    def decode(self, capsules: Tensor, labels: Tensor) -> Tensor:
        """Draw the capsules of `labels` [batch] out of poses [batch, classes, 16] as images."""
        if self.decoder is None:
            raise ValueError("model.decoder=null: this network does not draw")
        return self.decoder(capsules, labels)


def _missing(side: int, conv_stride: int) -> int:
    """Rows or columns to add to an image, so that the strides of the convolution and of the first capsules fit it."""
    return (STEM_KERNEL + conv_stride * (KERNEL - 1) - side) % (conv_stride * STRIDES[0])
