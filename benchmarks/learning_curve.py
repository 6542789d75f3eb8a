"""Test error over the number of training images, and what it would be with more of them.

    python train.py -m experiment=best data.limit=875,1750,3500,null seed=0,1
    python benchmarks/learning_curve.py SWEEP_DIR          table, JSON file and plot; folders of runs work as well

A power law, error = c * images ** -b, is fitted to the runs by least squares of the logarithms (Hestness et al. 2017,
arXiv:1712.00409). The interval is that in which a further run would lie with a probability of 95 %, if the power law
held as far as that. It may not: mislabelled images and writers unlike the training writers put a floor under the error.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from report import print_headline, save_results
from scipy.stats import linregress, t

from capsnet.reports.figures.style import percent_tick
from capsnet.runs.folder import RECORD_FILE
from capsnet.runs.record import read_record
from capsnet.text import percent

CONFIDENCE = 0.95


@dataclass
class PowerLaw:
    """error = exp(intercept) * images ** slope, as fitted to at least three runs."""

    intercept: float
    slope: float
    slope_deviation: float
    """Standard error of `slope`."""
    residual_deviation: float
    """Of the logarithm of a run's error."""
    log_images: np.ndarray
    """Of the runs it was fitted to."""

    @classmethod
    def fitted(cls, images: np.ndarray, errors: np.ndarray) -> "PowerLaw":
        x, y = np.log(images), np.log(errors)
        line = linregress(x, y)
        residuals = y - line.intercept - line.slope * x
        deviation = np.sqrt(np.square(residuals).sum() / (len(x) - 2))
        return cls(line.intercept, line.slope, line.stderr, deviation, x)

    def error(self, images: np.ndarray) -> np.ndarray:
        return np.exp(self.intercept + self.slope * np.log(images))

    def interval(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end of the interval for the error of a further run."""
        x, n = self.log_images, len(self.log_images)
        distance = np.square(np.log(images) - x.mean()) / np.square(x - x.mean()).sum()
        width = t.ppf((1 + CONFIDENCE) / 2, n - 2) * self.residual_deviation * np.sqrt(1 + 1 / n + distance)
        return self.error(images) * np.exp(-width), self.error(images) * np.exp(width)


def finished_runs(folders: list[Path]) -> list[dict]:
    """The records of finished runs in these folders or below them, from few training images to many."""
    records = [read_record(path.parent) for folder in folders for path in sorted(folder.rglob(RECORD_FILE))]
    finished = [record for record in records if record["status"] == "completed"]
    return sorted(finished, key=lambda record: (record["dataset"]["train"], record["seed"]))


def plot(images: np.ndarray, errors: np.ndarray, law: PowerLaw, at: int, path: Path) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    along = np.geomspace(images.min(), at)
    fitted = f"power law, exponent {law.slope:.2f} ± {law.slope_deviation:.2f}"
    line = axes.loglog(along, law.error(along), label=fitted)
    axes.fill_between(along, *law.interval(along), alpha=0.2, color=line[0].get_color(), label="95 % of further runs")
    axes.scatter(images, errors, color="black", zorder=3, s=16, label="runs")
    axes.set(xlabel="training images", ylabel="test error")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(percent_tick)
    axes.yaxis.set_minor_formatter(NullFormatter())
    counts = [*np.unique(images), at]
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(which="both", axis="y", alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"drawn in {path}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="RUN_OR_SWEEP")
    parser.add_argument("--at", type=int, default=60_000, help="training images to extrapolate to")
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/learning_curve.json"))
    parser.add_argument("--plot", type=Path, default=Path("outputs/benchmarks/learning_curve.png"))
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    records = finished_runs(arguments.folders)
    images = np.array([record["dataset"]["train"] for record in records])
    errors = np.array([1 - record["test_accuracy"] for record in records])
    if len(np.unique(images)) < 3:
        raise SystemExit("runs with at least three numbers of training images are needed")
    print_headline("cpu")
    print(f"{'images':>8}  test accuracy, one figure per seed")
    rows = []
    for count in np.unique(images):
        accuracies = 1 - errors[images == count]
        rows.append({"images": int(count), "test_accuracies": accuracies.tolist()})
        print(f"{count:>8,}  {', '.join(percent(accuracy) for accuracy in accuracies)}")
    law = PowerLaw.fitted(images, errors)
    error, (low, high) = law.error(arguments.at), law.interval(arguments.at)
    print(f"\nexponent {law.slope:.3f} ± {law.slope_deviation:.3f}")
    expected = f"{percent(1 - error)}, 95 % of runs between {percent(1 - high)} and {percent(1 - low)}"
    print(f"with {arguments.at:,} images, if the power law holds: {expected}")
    plot(images, errors, law, arguments.at, arguments.plot)
    fit = {"exponent": law.slope, "exponent_deviation": law.slope_deviation}
    extrapolated = {"at": arguments.at, "test_accuracy": 1 - error, "interval": [1 - high, 1 - low]}
    save_results(arguments.json, "cpu", rows, fit=fit, extrapolated=extrapolated)


if __name__ == "__main__":
    main()
