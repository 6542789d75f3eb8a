"""An exponential moving average of the weights, which is validated and saved as the best in their place."""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightAverage(Callback):
    """Averages the network's weights over the optimizer steps, and puts the average into the network for validation.

    The statistics of batch normalization are averaged alike: they then belong to the averaged weights, without another
    pass over the training images. Buffers of whole numbers are copied.

    The state is saved in last.ckpt, beside the weights that training continues from. Lightning's `WeightAveraging` has
    neither a decay that begins small nor the average in a checkpoint of the weights alone, which best.ckpt is.

    Args:
        decay: the most that an average keeps of itself in a step. It keeps less in the first steps, (1 + n) / (10 + n)
            after n of them, so that it is not an average with the initial weights.
    """

    def __init__(self, decay: float):
        self.decay = decay
        self.average: AveragedModel | None = None
        self.restored: dict[str, Any] | None = None
        self.last_step = 0

    def state_dict(self) -> dict[str, Any]:
        assert self.average is not None
        return {"steps": int(self.average.n_averaged), "weights": self.average.module.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.restored = state_dict  # the network is not yet on its device

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        # The count of steps stays on the CPU: otherwise each step would wait for it.
        self.average = AveragedModel(pl_module.network, multi_avg_fn=self._move_towards, use_buffers=True)
        if self.restored is not None:
            self.average.n_averaged.fill_(self.restored["steps"])
            self.average.module.load_state_dict(self.restored["weights"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.last_step = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step > self.last_step:  # not if gradients are still accumulated
            assert self.average is not None
            self.average.update_parameters(pl_module.network)
            self.last_step = trainer.global_step

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._swap(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._swap(pl_module)

    @contextlib.contextmanager
    def in_place(self, pl_module: Any) -> Iterator[None]:
        """The network has the averaged weights inside this context."""
        self._swap(pl_module)
        try:
            yield
        finally:
            self._swap(pl_module)

    @torch.no_grad()
    def _swap(self, pl_module: Any) -> None:
        assert self.average is not None
        tensors = [itertools.chain(of.parameters(), of.buffers()) for of in (pl_module.network, self.average.module)]
        for own, averaged in zip(*tensors, strict=True):
            kept = own.clone()
            own.copy_(averaged)
            averaged.copy_(kept)

    def _move_towards(self, averaged: Sequence[Tensor], current: Sequence[Tensor], count: Any) -> None:
        """Update the average, all tensors of one type and device at once."""
        assert self.average is not None
        if not averaged[0].is_floating_point():
            torch._foreach_copy_(averaged, current)
            return
        steps = int(self.average.n_averaged)
        get_ema_multi_avg_fn(min(self.decay, (1 + steps) / (10 + steps)))(averaged, current, count)
