"""What `--help` prints."""

import re
import textwrap

from ..settings import CONFIGS
from ..settings.composing import option_names
from ..settings.config import ALL_OPTIONS, OPTIONS, known_settings
from ..settings.parse import DEFAULT_OPTIONS

TRAIN = """\
Train a network, test its best checkpoint, and leave everything in outputs/.

  python train.py routing.iters=3                     one training
  python train.py data=kmnist_7k                      on images that come with the project
  python train.py data=folder data.root=DIR           on your own images, see docs/your-own-images.md
  python train.py experiment=demo                     a recipe from configs/experiment/
  python train.py -m routing.iters=1,3 seed=0,1,2     a sweep over all combinations
  python train.py sweep=routing                       a sweep from configs/sweep/
  python train.py resume=DIR                          continue an interrupted run or sweep
  python train.py rerun=RUN_DIR                       repeat a run and compare
  python train.py refit=RUN_DIR                       train again, with the validation images as well
  python train.py plugin=FILE.py model=MINE           use your own options, see docs/extending.md
  python train.py logger=[tensorboard,mlflow] callbacks=[lr,top_k]
                                                      loggers and callbacks of Lightning's, or yours: --config-dir=DIR

Groups, chosen by GROUP=OPTION:

{groups}

Settings you will change most, by KEY=VALUE:

  data.root=FOLDER              folder that holds the datasets, or that they are downloaded to
  data.batch_size=N             images per optimizer step
  routing.iters=N               routing iterations
  model.dropout=P               dropout in the decoder
  loss.reconstruction_weight=W  weight of the mean squared error per pixel
  augment.max_shift=N           shift training images by up to N pixels
  augment.cutout_size=N         blank a square of N x N pixels
  optimizer.lr=R                learning rate in the first epoch
  optimizer.lr_decay=F          factor on the learning rate after each epoch
  optimizer.schedule=cosine     let the learning rate fall along a cosine; optimizer.warmup_epochs=N lets it rise first
  trainer.average_weights=0.99  validate and test a moving average of the weights
  trainer.max_epochs=N          epochs to train; other arguments of Lightning's Trainer work, too
  trainer.precision=32-true     compute in fp32, also where bf16 is faster
  early_stopping.patience=N     stop after N epochs without better validation accuracy
  seed=N                        fixes initial weights, validation images, order and augmentation
  figures=false                 draw no figures

  docs/settings.md                     all settings
  python train.py --cfg job            all settings with their values
  python evaluate.py run=RUN_DIR       score a run again
  tensorboard --logdir outputs         curves, figures and hyper-parameters of every run"""

EVALUATE = """\
Score a trained network on the test images of its dataset; write evaluation.json and figures/.

  python evaluate.py run=RUN_DIR                    the best checkpoint of a run
  python evaluate.py checkpoint=FILE                one checkpoint file
  python evaluate.py run=RUN_DIR robustness=true    also on distorted images: robustness.csv, figures/robustness.png
  python evaluate.py run=RUN_DIR shifts=1           also with scores averaged over shifts by up to 1 pixel
  python evaluate.py 'run=[RUN_DIR,RUN_DIR,...]'    several runs together: their scores are averaged. The quotes keep
                                                    your shell from reading the brackets

Network and data are rebuilt from the config in the checkpoint. You can replace its settings:

  data.root=FOLDER        read the images from another folder
  data=NAME               another dataset with as many classes: {data}
  routing.iters=3         use another number of routing iterations
  plugin=FILE.py          options from a file of your own, if the run was trained with it
  figures=false           draw no figures"""


def train_help() -> str:
    return _as_installed(TRAIN.format(groups=_groups()))


def evaluate_help() -> str:
    return _as_installed(EVALUATE.format(data=", ".join(OPTIONS["data"])))


def _as_installed(text: str) -> str:
    """With `capsnet train` for `python train.py`, if the project's own tree is not there."""
    if (CONFIGS.parent / "train.py").is_file():
        return text
    return re.sub(r"python (train|evaluate)\.py", r"capsnet \1", text)


def _groups() -> str:
    """Every group with its options, the default one first."""
    lines = []
    sections = dict.fromkeys(key.partition(".")[0] for key, _ in known_settings() if "." in key)
    for group in dict.fromkeys([*sections, *ALL_OPTIONS, "logger", "callbacks", "experiment", "sweep"]):
        names = option_names(group)
        if not names:
            continue
        default = DEFAULT_OPTIONS.get(group)
        text = ", ".join(sorted(names, key=lambda name: (name != default, name)))
        lines.append(textwrap.fill(text, 96, initial_indent=f"  {group:<11} ", subsequent_indent=" " * 14))
    return "\n".join(lines)
