"""Routing made visible: from which places of a picture the votes for a class come, iteration by iteration."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..networks.window import Window
from ..routing.steps import RoutingStep
from ..routing.transformation import TransformationMatrices
from ..runs.trained import TrainedModel


class VoteStep(NamedTuple):
    """One iteration, seen from the class that was chosen."""

    length: float
    """Of the class capsule after this iteration; the activation of a matrix capsule."""
    couplings: Tensor
    """What the vote of each primary capsule for the class is multiplied with, [in_caps]."""
    push: Tensor | None
    """How much the votes from each place lengthen the class capsule before squashing, [rows, columns]. Below 0: they
    point away from it. Of a matrix capsule: which share of the votes that make it comes from there."""
    push_map: Tensor | None
    """The same as an image, [height, width]: the mean over the places that see a pixel; nearer ones count more."""
    share_map: Tensor | None
    """Mean of `couplings` over the capsules that see a pixel, [height, width]; longer and nearer ones count more. None
    if every primary capsule sees the whole picture."""


class VoteMaps(NamedTuple):
    """The votes for one class."""

    steps: list[VoteStep]
    grid: tuple[int, int] | None
    """Rows and columns of places; None if the network's primary capsules have no places that are known here."""
    window: int | None
    """Side of the square that each place sees, in pixels."""
    sees_everything: bool
    """Every primary capsule sees the whole picture."""


class _Places(NamedTuple):
    """What the primary capsules are made of, place by place."""

    window: Window
    pushes: Callable[[Tensor], Tensor]
    """From what each primary capsule is multiplied with, [in_caps, in_dim], to how much each place pushes."""
    lengths: Tensor | None
    """Of the capsules, [types, rows, columns]; None if each sees the whole picture."""


def vote_maps(model: TrainedModel, image: Tensor, label: int) -> VoteMaps | None:
    """The votes for a class.

    Args:
        model: the trained network.
        image: [channels, height, width] in [0, 1].
        label: the class.

    Returns:
        None if the network has no routing, or one without a method `steps`; or one of matrices that does not say what
        votes count.
    """
    network = model.network
    if hasattr(network, "class_routing"):
        return _matrix_vote_maps(network, image.to(model.device), label)
    routing, primary = getattr(network, "routing", None), getattr(network, "primary", None)
    if not isinstance(routing, nn.Module) or not callable(getattr(routing, "steps", None)):
        return None
    with _inputs_of(routing, primary) as inputs:
        model.output(image[None])
    if routing not in inputs:
        return None
    with torch.no_grad():
        u = inputs[routing][0].float()
        steps = routing.steps(u)
        has_matrices = isinstance(routing, TransformationMatrices)
        places = _places(network, primary, inputs.get(primary), u) if has_matrices else None
        vote_steps = [_step(routing, step, u, label, places, image.shape[1:]) for step in steps]
    grid = tuple(vote_steps[0].push.shape) if places else None
    return VoteMaps(vote_steps, grid, places and places.window.side, bool(places) and places.lengths is None)


@torch.no_grad()
def _matrix_vote_maps(network: Any, image: Tensor, label: int) -> VoteMaps | None:
    """The votes of the second convolutional capsules for a class."""
    classes, window, found = network.layers[-1], network.window(), []
    for votes, routed in network.class_routing(image[None]):
        if routed.coupling is None:
            return None
        score = network.classes(classes.as_map(routed.poses, routed.activations))[1][0, label]
        coupling, activations = (
            one.view(-1, *classes.windows.size) for one in (routed.coupling[0, 0, label], votes.activations[0, 0])
        )
        counts, weights = (coupling * activations).sum(0), activations.sum(0).clamp(min=1e-6)
        push = counts / counts.sum().clamp(min=1e-12)
        maps = (
            spread(push, torch.ones_like(push), window, image.shape[1:]),
            spread(counts / weights, weights, window, image.shape[1:]),
        )
        found.append(VoteStep(float(score), coupling.flatten().cpu(), push.cpu(), *(one.cpu() for one in maps)))
    return VoteMaps(found, classes.windows.size, window.side, False)


def _step(
    routing: nn.Module, step: RoutingStep, u: Tensor, label: int, places: _Places | None, size: Sequence[int]
) -> VoteStep:
    couplings, length = step.coupling[label], float(torch.linalg.vector_norm(step.capsules[label]))
    if places is None:
        return VoteStep(length, couplings.cpu(), None, None, None)
    direction = nn.functional.normalize(step.sums[label], dim=0)
    wanted = couplings[:, None] * (routing.weight[label] @ direction)  # what u_i is multiplied with, [i, d]
    push = places.pushes(wanted)
    push_map = spread(push, torch.ones_like(push), places.window, size)
    share_map = None
    if places.lengths is not None:
        lengths = places.lengths.sum(0).clamp(min=1e-6)
        shares = (couplings.view_as(places.lengths) * places.lengths).sum(0) / lengths
        share_map = spread(shares, lengths, places.window, size).cpu()
    return VoteStep(length, couplings.cpu(), push.cpu(), push_map.cpu(), share_map)


def _places(network: nn.Module, primary: nn.Module | None, features: Tensor | None, u: Tensor) -> _Places | None:
    """How the primary capsules are made of places, if they say: each of one place, or of parts from all of them."""
    if features is None or not hasattr(network, "window"):
        return None
    if hasattr(primary, "grid"):
        rows, columns = primary.grid(features)
        lengths = torch.linalg.vector_norm(u, dim=1).view(-1, rows, columns)
        return _Places(network.window(), lambda wanted: (wanted * u).sum(1).view(-1, rows, columns).sum(0), lengths)
    if hasattr(primary, "parts"):
        # A capsule is the squashed sum over places, and squashing multiplies all of them with the same number.
        parts, whole = primary.parts(features)[0], primary.sums(features)[0]  # [i, d, rows, columns], [i, d]
        factors = torch.linalg.vector_norm(u, dim=1) / torch.linalg.vector_norm(whole, dim=1).clamp(min=1e-12)
        return _Places(network.window(), lambda wanted: torch.einsum("id,i,idhw->hw", wanted, factors, parts), None)
    return None


def spread(values: Tensor, weights: Tensor, window: Window, size: Sequence[int]) -> Tensor:
    """For each pixel, the mean of the places around it, where those count more whose window's middle is near.

    Args:
        values: of places, [rows, columns].
        weights: how much each place counts besides, [rows, columns], above 0.
        window: what the places see.
        size: height and width of the image.

    Returns:
        [height, width].
    """
    deviation = max(window.pitch, window.side / 6)  # what is in the middle of a window has most influence
    bells = []
    for places, pixels in zip(values.shape, size, strict=True):
        middles = window.start + window.pitch * torch.arange(places, device=values.device)
        squares = (torch.arange(pixels, device=values.device)[:, None] - middles).square()
        squares = squares - squares.amin(1, keepdim=True)  # far outside, too, the nearest place has a weight
        bells.append(torch.exp(-squares / (2 * deviation**2)))
    rows, columns = bells
    return (rows @ (values * weights) @ columns.t()) / (rows @ weights @ columns.t())


@contextlib.contextmanager
def _inputs_of(*modules: nn.Module | None) -> Iterator[dict[nn.Module, Tensor]]:
    """The first input that each module is given while the block runs; what other threads give it does not count."""
    first_inputs: dict[nn.Module, Tensor] = {}
    mine = threading.get_ident()

    def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if threading.get_ident() == mine:
            first_inputs.setdefault(module, inputs[0])

    handles = [module.register_forward_pre_hook(keep) for module in modules if isinstance(module, nn.Module)]
    try:
        yield first_inputs
    finally:
        for handle in handles:
            handle.remove()
