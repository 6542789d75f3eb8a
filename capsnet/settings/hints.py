"""What other projects call things, and how they are called here."""

from typing import NamedTuple


class Hint(NamedTuple):
    """What to say to someone who uses another project's name."""

    key: str | None = None
    """The key here, which takes the same values."""
    advice: str = ""
    """What to do instead, where no key takes the value."""


def _key(key: str) -> Hint:
    return Hint(key=key)


def _say(advice: str) -> Hint:
    return Hint(advice=advice)


_NO_WORKERS = _say("the images are one tensor on the device, so there are no worker processes; leave it out")

ELSEWHERE = {
    "lr": _key("optimizer.lr"),
    "learning_rate": _key("optimizer.lr"),
    "weight_decay": _say("optimizer=adamw optimizer.weight_decay=VALUE sets it"),
    "momentum": _say("optimizer=sgd optimizer.momentum=VALUE sets it"),
    "scheduler": _say("optimizer.schedule=NAME chooses how the learning rate changes"),
    "lr_scheduler": _say("optimizer.schedule=NAME chooses how the learning rate changes"),
    "epochs": _key("trainer.max_epochs"),
    "n_epochs": _key("trainer.max_epochs"),
    "num_epochs": _key("trainer.max_epochs"),
    "max_epochs": _key("trainer.max_epochs"),
    "max_steps": _key("trainer.max_steps"),
    "batch_size": _key("data.batch_size"),
    "iters": _key("routing.iters"),
    "num_routing": _key("routing.iters"),
    "routing_iters": _key("routing.iters"),
    "routing_iterations": _key("routing.iters"),
    "dropout": _key("model.dropout"),
    "patience": _key("early_stopping.patience"),
    "devices": _key("trainer.devices"),
    "accelerator": _key("trainer.accelerator"),
    "precision": _key("trainer.precision"),
    "compile": _key("trainer.compile"),
    "gpus": _say("trainer=gpu takes one GPU, trainer=ddp trainer.devices=N several"),
    "num_gpus": _say("trainer=gpu takes one GPU, trainer=ddp trainer.devices=N several"),
    "num_workers": _NO_WORKERS,
    "persistent_workers": _NO_WORKERS,
    "pin_memory": _NO_WORKERS,
    "ckpt_path": _say(
        "resume=RUN_DIR continues a run, init=RUN_DIR begins with its weights; evaluate.py run=RUN_DIR tests it"
    ),
    "checkpoint": _say("resume=RUN_DIR continues a run, init=RUN_DIR begins with its weights"),
    "resume_from_checkpoint": _say("resume=RUN_DIR continues a run"),
    "pretrained": _say("init=RUN_DIR, or init=kmnist_7k, begins with trained weights"),
    "weights": _say("init=RUN_DIR, or init=kmnist_7k, begins with trained weights"),
    "data_dir": _key("data.root"),
    "data_root": _key("data.root"),
    "root": _key("data.root"),
    "output_dir": _key("hydra.run.dir"),
    "dataset": _key("data"),
    "datamodule": _key("data"),
    "network": _key("model"),
    "net": _key("model"),
    "arch": _key("model"),
    "task_name": _key("name"),
    "experiment_name": _key("name"),
    "run_name": _key("name"),
    "hparams_search": _say("sweep=optuna searches; sweep=NAME is a sweep of configs/sweep/"),
    "debug": _say("trainer=debug trains a few batches; trainer.fast_dev_run=true two"),
    "train": _say("train.py always trains, and tests the best epoch at the end"),
    "test": _say("the best epoch is always tested, once; evaluate.py run=RUN_DIR does it again"),
    "optimized_metric": _key("monitor"),
    "extras": _say("--cfg job prints the whole config, and trains nothing"),
    "paths": _say("data.root is the folder of the datasets, hydra.run.dir that of the run"),
    "print_config": _say("--cfg job prints the whole config, and trains nothing"),
    "cp": _say("--config-dir=DIR adds a folder with YAML files of yours"),
    "config_path": _say("--config-dir=DIR adds a folder with YAML files of yours"),
    "model_checkpoint": _say("best.ckpt and last.ckpt are always saved; callbacks=top_k keeps more"),
}
"""By the name that people type, alone or as the last part of a key."""

CALLBACKS = {
    "early_stopping": "early_stopping.patience=N stops early",
    "model_checkpoint": "best.ckpt and last.ckpt are always saved; callbacks=top_k keeps more",
    "learning_rate_monitor": "callbacks=lr logs the learning rate by step",
    "rich_progress_bar": "callbacks=rich",
    "model_summary": "the run's first lines show the network's size",
    "default": "best.ckpt and last.ckpt are always saved, and early_stopping.patience=N stops early",
}
"""What lightning-hydra-template calls its files, and what does the same here."""


def of_other_projects(key: str, value: str | None = None) -> str | None:
    """What to type instead of a key that does not exist; None if nothing is known about it.

    Args:
        key: dotted, such as lr or model.optimizer.lr.
        value: that was given, to be repeated in the answer.
    """
    found = ELSEWHERE.get(key.rpartition(".")[2]) or ELSEWHERE.get(key.partition(".")[0])
    if found is None:
        return None
    if found.key is None:
        return found.advice
    return f"use {found.key}" + ("" if value is None else f"={value}")
