"""A trained network as ONNX files, which need neither this project nor PyTorch, and how they compare with it."""

import contextlib
import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..data.pictures import FULL, Ranges
from ..errors import ExportError
from ..text import on_one_line
from .trained import TrainedModel

TOLERANCE = 1e-4  # largest difference of a score, or of a pixel in [0, 1], to the network's own
ROUNDS = 5  # of measuring speed


class _Encoder(nn.Module):
    def __init__(self, model: TrainedModel):
        super().__init__()
        self.network, self.confidences = model.network, model.confidences

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        output = self.network(images)
        scores = self.confidences(output)
        return scores if output.capsules is None else (scores, output.capsules)


class _Decoder(nn.Module):
    def __init__(self, model: TrainedModel):
        super().__init__()
        self.network = model.network

    def forward(self, capsules: Tensor, labels: Tensor) -> Tensor:
        return self.network.decode(capsules, labels)


class OnnxFiles(NamedTuple):
    """The content of the files."""

    model: bytes
    """`images` [batch, *image_shape] in [0, 1] -> `scores` [batch, classes], each in [0, 1], and, of a network with
    capsules, `capsules` [batch, classes, dim]."""
    decoder: bytes | None
    """`capsules` [batch, classes, dim] and `labels` [batch] int64, which says whose capsule is drawn -> `images`. None
    for a network that does not draw."""


class Comparison(NamedTuple):
    """How ONNX files agree with the network that they were made of."""

    images: int
    """That both classified."""
    other_predictions: int
    """Images that they classify otherwise."""
    difference: float
    """Largest difference in scores, capsules and drawn pixels; of a value above 1, the relative difference."""
    network_speed: float
    """Images per second that PyTorch classifies, in the largest batch."""
    file_speed: float
    """The same of ONNX Runtime."""


def to_onnx(model: TrainedModel, title: str) -> OnnxFiles:
    """Export a network; batches may have any size.

    Args:
        model: is moved to the CPU.
        title: of the network and its dataset, kept in the files.

    Raises:
        ExportError: something that the network does cannot be expressed in ONNX.
    """
    model.network.cpu()
    channels, height, width = model.image_shape
    metadata = {
        "class_names": json.dumps(model.class_names),
        "image_shape": json.dumps(model.image_shape),
        "preprocessing": f"{'gray' if channels == 1 else 'red, green, blue'}, as large as fits {height}x{width} pixels"
        f" with its aspect ratio, padded with the color of its border, {_scaling(model.ranges)}",
        "ranges": json.dumps({kind: list(ends) for kind, ends in model.ranges.items()}),
        "network": title,
    }
    images = torch.zeros(2, *model.image_shape)
    output = model.output(images)
    names = ["scores"] if output.capsules is None else ["scores", "capsules"]
    encoder = _exported(_Encoder(model), {"images": images}, names, metadata)
    if not model.draws(output):
        return OnnxFiles(encoder, None)
    inputs = {"capsules": output.capsules, "labels": torch.zeros(2, dtype=torch.int64)}
    return OnnxFiles(encoder, _exported(_Decoder(model), inputs, ["images"], metadata))


def _scaling(ranges: Ranges) -> str:
    """How the values of a picture become numbers from 0 to 1."""
    own = {kind: ends for kind, ends in ranges.items() if ends != FULL}
    if not own:
        return "divided by 255"
    scaled = [f"in pictures with {kind}, {ends.black:g} becomes 0 and {ends.white:g} 1" for kind, ends in own.items()]
    return "; ".join(scaled if len(own) == len(ranges) else [*scaled, "others are divided by 255"])


def _exported(module: nn.Module, inputs: dict[str, Tensor], outputs: list[str], metadata: dict[str, str]) -> bytes:
    batch = torch.export.Dim("batch")
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=outputs,
                dynamic_shapes=tuple({0: batch} for _ in inputs),
                dynamo=True,
                verbose=False,
            )
            program.model.metadata_props.update(metadata)
            content = program.model_proto.SerializeToString()
    except Exception as error:  # whatever a network of somebody's own does
        raise ExportError(f"the network cannot be exported: {on_one_line(error.__cause__ or error)[:300]}") from error
    if isinstance(program.model.graph.inputs[0].shape[0], int):
        raise ExportError(
            "the network cannot be exported: it fixes the number of images; in forward, use images.shape[0] rather than"
            " len(images), which becomes a constant"
        )
    return content


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the notes that the exporter takes for its own authors."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def compare_with_network(files: OnnxFiles, model: TrainedModel, batches: Iterable[Tensor]) -> Comparison:
    """Show images to a network and to the files that were made of it.

    Args:
        files: by `to_onnx`.
        model: on the CPU.
        batches: of images, [n, *image_shape] float32 in [0, 1], at least one.
    """
    encoder, decoder = _session(files.model), files.decoder and _session(files.decoder)
    differences, others, images, largest = [], 0, 0, torch.empty(0)
    for batch in batches:
        images, largest = images + len(batch), max(largest, batch, key=len)
        output, (scores, *capsules) = model.output(batch), encoder.run(None, {"images": batch.numpy()})
        expected = model.confidences(output)
        differences.append(_difference(scores, expected))
        answers, own = (model.task.answers(some) for some in (torch.from_numpy(scores), expected))
        others += int((answers != own).view(len(batch), -1).any(1).sum())
        if output.capsules is not None:
            differences.append(_difference(capsules[0], output.capsules))
        if decoder:
            labels = expected.argmax(1)
            drawn = decoder.run(None, {"capsules": output.capsules.numpy(), "labels": labels.numpy()})[0]
            with torch.no_grad():
                differences.append(_difference(drawn, model.network.decode(output.capsules, labels)))
    pixels = largest.numpy()
    network, file = _speeds(lambda: model.output(largest), lambda: encoder.run(None, {"images": pixels}))
    return Comparison(images, others, float(np.max(differences)), network * len(largest), file * len(largest))


def _difference(computed: np.ndarray, expected: Tensor) -> float:
    """The largest one, as a share of what was expected if that is above 1."""
    return np.max(np.abs(computed - expected.numpy()) / np.maximum(1, np.abs(expected.numpy())))


def _session(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _speeds(*actions: Callable[[], Any]) -> list[float]:
    """How often a second each is done, the median of rounds in which they take turns."""
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(ROUNDS):
        for action, own in zip(actions, times, strict=True):
            start = time.perf_counter()
            action()
            own.append(time.perf_counter() - start)
    return [1 / statistics.median(own) for own in times]
