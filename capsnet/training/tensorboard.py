"""What is logged to TensorBoard beside the curves: hyper-parameters, test metrics and figures."""

from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from ..runs.record import RunRecord
from ..settings.config import Config, leaves

FIGURES_TAG = "visuals"  # TIME SERIES sorts cards by tag: figures come after the curves, test/ to val/


def log_hyperparameters(tensorboard: SummaryWriter, config: Config, results: RunRecord) -> None:
    """Fill the HPARAMS tab. TensorBoard takes its columns from the first run it reads, so every run logs all of them.

    The entry goes into the run's own event file; the writer's own method would add a folder.
    """
    chosen = {
        key: value if isinstance(value, bool | int | float | str) else str(value)
        for key, value, about in leaves(config)
        if about.hyperparameter and value is not None
    }
    chosen["trainer.precision"] = results.precision
    monitored = results.monitor.rpartition("/")[2]
    outcome = {f"hparam/{split}_{monitored}": results.metrics.get(f"{split}/{monitored}") for split in ("val", "test")}
    for summary in hparams(chosen, outcome):
        tensorboard.file_writer.add_summary(summary)
    for name, value in outcome.items():
        if value is not None:
            tensorboard.add_scalar(name, value, results.epochs)


def log_test(tensorboard: SummaryWriter, measured: dict[str, float], epoch: int | None) -> None:
    """Log what was measured in the test, by name, at the best epoch."""
    for name, value in measured.items():
        tensorboard.add_scalar(name, value, epoch)


def log_figures(tensorboard: SummaryWriter, figures: dict[str, bytes], epoch: int) -> None:
    """Log PNG files by name, as they are."""
    for name, png in figures.items():
        width, height = (int.from_bytes(png[start : start + 4]) for start in (16, 20))  # where the PNG header has them
        image = Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=4)
        value = Summary.Value(tag=f"{FIGURES_TAG}/{name}", image=image)
        tensorboard.file_writer.add_summary(Summary(value=[value]), epoch)
