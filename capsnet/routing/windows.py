"""Which children vote for which parents, where parents look at windows of a map, and who competes for whom."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

COMPETITIONS = ("parents", "types", "positions")
"""Who competes for a child: parents of all types, at all positions that it votes for; only the types at one position;
or only the positions of one type."""


class Windows(nn.Module):
    """The windows through which parents see a map of children, without padding.

    A child is seen by several parents, at different places of their windows. The children of a window are numbered
    type by type, and within a type row by row, as `torch.nn.functional.unfold` does.

    Args:
        size: rows and columns of the map of children, or one number for both.
        kernel: rows and columns of a window, or one number for both.
        stride: from one window to the next.

    Raises:
        ValueError: the map is smaller than a window.
    """

    def __init__(self, size: int | Sequence[int], kernel: int | Sequence[int], stride: int = 1):
        super().__init__()
        self.size, self.kernel, self.stride = _pair(size), _pair(kernel), stride
        if self.size[0] < self.kernel[0] or self.size[1] < self.kernel[1]:
            raise ValueError(f"a map of {self.size[0]}x{self.size[1]} is smaller than windows of {self.kernel}")
        self.grid = tuple((side - k) // stride + 1 for side, k in zip(self.size, self.kernel, strict=True))
        """Rows and columns of parents."""
        rows, columns = (
            stride * torch.arange(count)[:, None] + torch.arange(k)
            for count, k in zip(self.grid, self.kernel, strict=True)
        )
        child = rows[:, None, :, None] * self.size[1] + columns[None, :, None, :]
        self.register_buffer("child", child.flatten(2).flatten(0, 1), persistent=False)
        """Which place of the map, row by row, each place of each window is, [positions, places]."""
        seen: list[list[int]] = [[] for _ in range(self.size[0] * self.size[1])]
        for window, place in enumerate(self.child.flatten().tolist()):
            seen[place].append(window)
        most, nowhere = max(map(len, seen)), self.child.numel()
        padded = [places + [nowhere] * (most - len(places)) for places in seen]
        self.register_buffer("seen", torch.tensor(padded), persistent=False)
        """At which places of all windows each place of the map is seen, [map places, most], padded with their count."""
        counts = torch.tensor([len(places) for places in seen])
        self.register_buffer("parents", counts[self.child], persistent=False)
        """How many positions of parents each child votes for, [positions, places]."""

    @property
    def positions(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def places(self) -> int:
        """Of the map in one window."""
        return self.kernel[0] * self.kernel[1]

    def of(self, values: Tensor) -> Tensor:
        """What each window sees of a map.

        Args:
            values: [batch, types, rows, columns, ...].

        Returns:
            [batch, positions, children, ...], children = types * places.
        """
        seen = values.flatten(2, 3)[:, :, self.child]  # [batch, types, positions, places, ...]
        return seen.transpose(1, 2).flatten(2, 3)

    def logsumexp(self, logits: Tensor) -> Tensor:
        """ln Σ exp over all windows that see the same child, at every place where it is seen.

        Args:
            logits: [batch, positions, children].

        Returns:
            The same shape.
        """
        if self.positions == 1:
            return logits
        by_type = logits.unflatten(2, (-1, self.places)).transpose(1, 2).flatten(2)
        padded = F.pad(by_type, (0, 1), value=torch.finfo(logits.dtype).min / 2)
        of_children = padded[:, :, self.seen].logsumexp(3)[:, :, self.child]  # [batch, types, positions, places]
        return of_children.transpose(1, 2).flatten(2)


def log_total(logits: Tensor, windows: Windows | None, competition: str = "parents") -> Tensor:
    """ln Σ exp of the logits that compete with each one; exp(logits - log_total) are shares that sum to 1.

    Args:
        logits: of the assignment of children to parents, [batch, positions, types, children].
        windows: which child each one is; None: each child votes for parents at one position only.
        competition: one of `COMPETITIONS`.

    Returns:
        [batch, positions, types or 1, children].

    Raises:
        ValueError: `competition` is another word.
    """
    if competition not in COMPETITIONS:
        raise ValueError(f"competition={competition!r}: must be one of {', '.join(COMPETITIONS)}")
    if competition == "positions":
        if windows is None:
            return logits
        of_types = [windows.logsumexp(one) for one in logits.unbind(2)]
        return torch.stack(of_types, 2)
    total = logits.logsumexp(2)
    if windows is not None and competition == "parents":
        total = windows.logsumexp(total)
    return total.unsqueeze(2)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
