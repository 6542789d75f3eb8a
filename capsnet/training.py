"""Training a CapsNet with Lightning, and the report at its end."""

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from .checkpoint import BEST_CHECKPOINT, CONFIG_KEY, build_network, read_checkpoint
from .config import Config, TrainerConfig, settings
from .data import ImageDataModule
from .errors import ConfigError, on_one_line
from .evaluation import evaluate
from .losses import capsnet_losses
from .model import CapsNet, CapsNetOutput
from .results import (
    METRICS,
    METRICS_FILE,
    RunResults,
    append_metrics,
    combined_digest,
    git_commit,
    processor_name,
    refuse_used,
    versions,
)
from .terminal import TrainingBar, duration, run_outcome, run_summary

log = logging.getLogger(__name__)

NOT_HYPERPARAMETERS = ("data.root", "data.download", "data.mirror", "trainer.")


class Means:
    """Means over the images of an epoch, summed on the device, so that a step waits for nothing."""

    def __init__(self) -> None:
        self.sums: Tensor | None = None

    def add(self, values: Tensor, images: int) -> None:
        """Add a batch's means of METRICS, [len(METRICS)]."""
        weighted = torch.cat([values.detach().float(), values.new_ones(1, dtype=torch.float32)]) * images
        self.sums = weighted if self.sums is None else self.sums + weighted

    def compute(self, strategy: pl.strategies.Strategy | None = None) -> dict[str, float]:
        """The means so far by name; over all processes where their strategy is given."""
        assert self.sums is not None
        sums = self.sums.clone() if strategy is None else strategy.reduce(self.sums.clone(), reduce_op="sum")
        *totals, images = sums.tolist()
        return dict(zip(METRICS, (total / images for total in totals), strict=True))


class CapsNetModule(pl.LightningModule):
    """A CapsNet with its losses and its optimiser.

    Logs `train/` and `val/` loss, margin_loss, reconstruction_loss and accuracy once an epoch, exact over all images
    and processes. In training the right class's capsule is decoded, in validation the longest one.

    Args:
        config: the whole config; it travels in every checkpoint.
        image_shape: (channels, height, width).
        num_classes: number of classes.
    """

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int):
        super().__init__()
        self.config = config
        self.network = build_network(config, image_shape, num_classes)
        self._compiled = _compiled(self.network) if config.trainer.compile else None
        self._full_batch: int | None = None
        self.means = {"train": Means(), "val": Means()}
        self.epoch_metrics: dict[str, float] = {}

    def forward(self, images: Tensor, labels: Tensor | None = None):
        return self.network(images, labels)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        images, labels = batch
        network = self.network
        if self._compiled is not None:
            self._full_batch = self._full_batch or len(labels)
            if len(labels) == self._full_batch:  # a smaller last one would be compiled anew, for nothing
                network = self._compiled
        return self._losses("train", network(images, labels), images, labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        images, labels = batch
        return self._losses("val", self.network(images), images, labels)

    def _losses(self, split: str, output: CapsNetOutput, images: Tensor, labels: Tensor) -> Tensor:
        losses = capsnet_losses(output.lengths, output.reconstruction, images, labels, self.config.loss)
        accuracy = (output.lengths.argmax(1) == labels).to(losses.loss.dtype).mean()
        self.means[split].add(torch.stack([*losses, accuracy]), len(labels))
        return losses.loss

    def running_means(self) -> dict[str, float]:
        """This epoch's training metrics so far, in this process. Waits for the device."""
        return self.means["train"].compute()

    def on_train_epoch_start(self) -> None:
        self.means["train"] = Means()
        self.epoch_metrics = {"lr": self.optimizers().param_groups[0]["lr"]}

    def on_validation_epoch_start(self) -> None:
        self.means["val"] = Means()

    def on_validation_epoch_end(self) -> None:
        self._finish("val")

    def on_train_epoch_end(self) -> None:
        self.log_dict(self.finished_epoch(), logger=False, sync_dist=True)

    def finished_epoch(self) -> dict[str, float]:
        """This epoch's metrics by their full names, over all processes; each process has to ask."""
        if "train/loss" not in self.epoch_metrics:
            self._finish("train")
        return self.epoch_metrics

    def _finish(self, split: str) -> None:
        means = self.means[split].compute(self.trainer.strategy)
        named = {f"{split}/{name}": value for name, value in means.items()}
        self.epoch_metrics.update(named)
        if split == "val":  # for the callbacks that watch validation, before the epoch ends
            self.log_dict(named, logger=False, sync_dist=True)

    def configure_optimizers(self) -> dict[str, Any]:
        # The fused step goes over the weights once; it cannot unscale 16-bit floats' gradients where they are clipped.
        fused = self.config.trainer.precision not in ("16-mixed", "16")
        optimizer = torch.optim.Adam(self.parameters(), lr=self.config.optimizer.lr, fused=fused)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, self.config.optimizer.lr_decay)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[CONFIG_KEY] = asdict(self.config)


def _compiled(network: CapsNet) -> Callable[..., CapsNetOutput]:
    """Its forward and backward pass by torch.compile; jobs of one process share what their settings let them share."""
    torch._dynamo.config.recompile_limit = 256  # at 8, a sweep's ninth setting would silently not be compiled
    return torch.compile(network.forward, dynamic=False)


class CompileClock(Callback):
    """Says how long the first step took, in which the network is compiled."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.seconds: float | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.began = self.began or time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.seconds is None and self.began is not None:
            self.seconds = time.perf_counter() - self.began
            log.info("compiled the training step in %s", duration(self.seconds))


class EpochLog(Callback):
    """Writes each epoch's metrics to metrics.csv, TensorBoard and the log, and keeps score and time.

    Args:
        run_dir: the run's folder.
    """

    def __init__(self, run_dir: Path):
        self.run_dir = run_dir
        self.epochs = 0
        self.best_epoch: int | None = None
        self.best_val_accuracy: float | None = None
        self.images, self.training_seconds = 0, 0.0  # of finished epochs
        self.interrupted = False

    @cached_property
    def tensorboard(self) -> SummaryWriter:
        """Opened by the main process alone, when it first has something to write."""
        return SummaryWriter(str(self.run_dir))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epoch_began, self.validation_seconds, self.epoch_images = time.perf_counter(), 0.0, 0

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validation_began = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validation_seconds = time.perf_counter() - self.validation_began

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.epoch_images += len(batch[1]) * trainer.world_size

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, CapsNetModule)
        metrics = pl_module.finished_epoch()
        seconds = time.perf_counter() - self.epoch_began
        self.training_seconds += seconds - self.validation_seconds
        self.images += self.epoch_images
        self.epochs = trainer.current_epoch + 1
        accuracy = metrics.get("val/accuracy")
        if accuracy is None and trainer.limit_val_batches == 0:
            self.best_epoch = self.epochs  # nothing to choose by: the newest stands for the best
        elif accuracy is not None and (self.best_val_accuracy is None or accuracy > self.best_val_accuracy):
            self.best_epoch, self.best_val_accuracy = self.epochs, accuracy
        if not trainer.is_global_zero:
            return
        append_metrics(self.run_dir / METRICS_FILE, {"epoch": self.epochs, "step": trainer.global_step, **metrics})
        for name, value in metrics.items():
            self.tensorboard.add_scalar(name, value, self.epochs)
        self.tensorboard.flush()
        line = f"epoch {self.epochs:{len(str(trainer.max_epochs))}}/{trainer.max_epochs}"
        for split in ("train", "val"):
            if f"{split}/loss" in metrics:
                line += f"  {split} loss {metrics[f'{split}/loss']:.4f}  accuracy {metrics[f'{split}/accuracy']:.2%}  |"
        log.info("%s  %s", line, duration(seconds))

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.interrupted = isinstance(exception, KeyboardInterrupt | SIGTERMException)


def train(
    config: Config, run_dir: Path, overrides: list[str] | None = None, callbacks: Sequence[Callback] = ()
) -> RunResults:
    """Train a CapsNet, test its best checkpoint, and leave everything in the run's folder.

    Args:
        config: a checked config.
        run_dir: an existing folder.
        overrides: what the person asked for, for the record.
        callbacks: Lightning callbacks to be called beside the runner's own.

    Returns:
        The content of results.json; in a helper process of a distributed run, one that nobody writes.

    Raises:
        ConfigError: the device or another choice of the trainer is not to be had.
        DataError: the dataset cannot be read.
    """
    _quieten()
    if rank_zero_only.rank == 0:
        refuse_used(run_dir)
    else:
        logging.getLogger(__package__).setLevel(logging.ERROR)
    data = ImageDataModule(config.data, config.augment, config.seed)
    data.setup("fit")
    epoch_log = EpochLog(run_dir)
    trainer = _build_trainer(config, run_dir, epoch_log, callbacks, validates=data.val_split is not None)
    is_main = trainer.is_global_zero
    pl.seed_everything(config.seed, verbose=False)
    try:
        module = CapsNetModule(config, data.image_shape, len(data.class_names))
    except ValueError as error:
        raise ConfigError(f"data.name={config.data.name}: {error}") from error
    results = RunResults(
        status="running",
        dataset=_dataset_record(data),
        overrides=overrides or [],
        seed=config.seed,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        device=_device_name(trainer),
        precision=trainer.precision,
        versions=versions(),
        git_commit=git_commit(),
    )
    if is_main:
        results.write(run_dir)
        log.info("%s\n", run_summary(config, data, results, run_dir))
    try:
        _fit(trainer, module, data, epoch_log, results)
        if is_main:
            _test(trainer, module, data, epoch_log, results)
        results.status = "completed"
    except KeyboardInterrupt:
        results.status = "interrupted"
    except BaseException as error:
        results.status, results.reason = "failed", f"{type(error).__name__}: {error}"
        raise
    finally:
        if is_main:
            _log_hyperparameters(epoch_log.tensorboard, config, results)
            epoch_log.tensorboard.close()
            results.write(run_dir)
    if is_main:
        log.info("\n%s", run_outcome(results, run_dir))
    return results


def _fit(
    trainer: pl.Trainer, module: CapsNetModule, data: ImageDataModule, epoch_log: EpochLog, results: RunResults
) -> None:
    """Train, and note what came of it; raises KeyboardInterrupt where it was stopped."""
    began = time.perf_counter()
    try:
        trainer.fit(module, datamodule=data)
    except SystemExit as error:  # Lightning's own answer to Ctrl-C and SIGTERM, once it has cleaned up
        if epoch_log.interrupted:
            raise KeyboardInterrupt from error
        raise
    except MisconfigurationException as error:
        raise ConfigError(f"trainer: {on_one_line(error)}") from error
    except Exception as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            reason = on_one_line(error).partition(" Set TORCH")[0]
            raise ConfigError(f"trainer.compile=true: torch.compile fails here ({reason})") from error
        raise
    finally:
        results.train_seconds = round(time.perf_counter() - began, 3)
        results.epochs, results.best_epoch = epoch_log.epochs, epoch_log.best_epoch
        results.val_accuracy = epoch_log.best_val_accuracy
        if epoch_log.training_seconds:
            results.train_images_per_second = round(epoch_log.images / epoch_log.training_seconds, 1)


def _test(
    trainer: pl.Trainer, module: CapsNetModule, data: ImageDataModule, epoch_log: EpochLog, results: RunResults
) -> None:
    """Score the best checkpoint on the test images, once, and draw the figures."""
    best = epoch_log.run_dir / BEST_CHECKPOINT
    if not best.exists() and not module.config.trainer.fast_dev_run:  # ended before the first validation
        trainer.save_checkpoint(best, weights_only=True)
        results.best_epoch = results.epochs
    if best.exists():
        module.load_state_dict(read_checkpoint(best)["state_dict"])
    data.setup("test")
    results.dataset = _dataset_record(data)
    network = module.network.to(trainer.strategy.root_device)
    report, drawn = evaluate(network, data, module.config, epoch_log.run_dir, best, results.best_epoch)
    results.test_accuracy, results.test_loss = report["accuracy"], report["loss"]
    for name in METRICS:
        epoch_log.tensorboard.add_scalar(f"test/{name}", report[name], results.best_epoch)
    for name, figure in drawn.items():
        epoch_log.tensorboard.add_figure(f"figures/{name}", figure, results.epochs)


def resolve_precision(trainer: TrainerConfig) -> str:
    """What `trainer.precision=auto` means on this machine."""
    if trainer.precision != "auto":
        return trainer.precision
    if trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if trainer.accelerator in ("auto", "cpu"):
        return "bf16-mixed" if computes_in_bfloat16() else "32-true"
    return "32-true"


def computes_in_bfloat16() -> bool:
    """Does this processor have instructions that multiply bfloat16? Without, bf16 is slower than float32."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "arm_bf16"))


def _build_trainer(
    config: Config, run_dir: Path, epoch_log: EpochLog, more_callbacks: Sequence[Callback], validates: bool
) -> pl.Trainer:
    arguments = {key: value for key, value in vars(config.trainer).items() if value is not None}
    del arguments["compile"]  # ours, not Lightning's
    arguments["precision"] = resolve_precision(config.trainer)
    validates = validates and config.trainer.limit_val_batches != 0
    callbacks: list[Callback] = [TrainingBar()] if config.trainer.enable_progress_bar else []
    callbacks += [epoch_log, *more_callbacks]
    if config.trainer.compile:
        callbacks.append(CompileClock())
    if not validates:
        arguments["limit_val_batches"] = 0
    keep = partial(ModelCheckpoint, (run_dir / BEST_CHECKPOINT).parent, enable_version_counter=False)
    if validates:
        best = keep(filename="best", save_weights_only=True, monitor="val/accuracy", mode="max")
        callbacks += [best, keep(filename="last", save_on_train_epoch_end=True)]
    else:  # nothing to choose by: the newest stands for the best
        callbacks.append(keep(filename="best", save_last=True, save_on_train_epoch_end=True))
    if config.early_stopping.patience is not None and validates:
        callbacks.append(
            EarlyStopping("val/accuracy", mode="max", check_on_train_epoch_end=False, **vars(config.early_stopping))
        )
    try:
        return pl.Trainer(
            **arguments,
            callbacks=callbacks,
            logger=False,
            default_root_dir=run_dir,
            enable_model_summary=False,
            use_distributed_sampler=False,  # the batches know their process themselves
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError) as error:
        raise ConfigError(f"trainer: {on_one_line(error)}") from error


def _dataset_record(data: ImageDataModule) -> dict[str, Any]:
    source = data.source
    return {
        "name": source.name,
        "official": source.official,
        "sha256": combined_digest(source.sha256),
        "files": source.sha256,
        **data.counts,
    }


def _device_name(trainer: pl.Trainer) -> str:
    processes = f" x {trainer.world_size}" if trainer.world_size > 1 else ""
    if trainer.strategy.root_device.type == "cuda":
        return torch.cuda.get_device_name(trainer.strategy.root_device) + processes
    return f"{processor_name()}, {torch.get_num_threads()} threads{processes}"


def _log_hyperparameters(tensorboard: SummaryWriter, config: Config, results: RunResults) -> None:
    """Fill TensorBoard's HPARAMS tab, in the run's own event file (the writer's own method would add a folder)."""
    chosen = {
        key: value if isinstance(value, bool | int | float | str) else str(value)
        for key, value, _ in settings(config)
        if value is not None and not key.startswith(NOT_HYPERPARAMETERS)
    }
    chosen |= {"trainer.max_epochs": config.trainer.max_epochs, "trainer.precision": results.precision}
    outcome = {"hparam/val_accuracy": results.val_accuracy, "hparam/test_accuracy": results.test_accuracy}
    measured = {name: value for name, value in outcome.items() if value is not None}
    for summary in hparams(chosen, measured):
        tensorboard.file_writer.add_summary(summary)
    for name, value in measured.items():
        tensorboard.add_scalar(name, value, results.epochs)


def _quieten() -> None:
    """Keep Lightning's advertisements and notes on what is meant here out of the terminal."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning.profilers").setLevel(logging.INFO)  # trainer.profiler reports here
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # trainer.compile looks for CUDA there
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")  # between Lightning and torch
