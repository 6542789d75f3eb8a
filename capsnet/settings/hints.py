"""What other projects call things, and how they are called here."""

_NO_WORKERS = "the images are one tensor on the device, so there are no worker processes; leave it out"
_CHECKPOINT = "resume=RUN_DIR continues a run, init=RUN_DIR begins with its weights"

ELSEWHERE = {
    "lr": "optimizer.lr",
    "learning_rate": "optimizer.lr",
    "weight_decay": "optimizer=adamw optimizer.weight_decay=VALUE sets it",
    "momentum": "optimizer=sgd optimizer.momentum=VALUE sets it",
    "scheduler": "optimizer.schedule=NAME chooses how the learning rate changes",
    "lr_scheduler": "optimizer.schedule=NAME chooses how the learning rate changes",
    "epochs": "trainer.max_epochs",
    "n_epochs": "trainer.max_epochs",
    "num_epochs": "trainer.max_epochs",
    "max_epochs": "trainer.max_epochs",
    "max_steps": "trainer.max_steps",
    "batch_size": "data.batch_size",
    "iters": "routing.iters",
    "num_routing": "routing.iters",
    "routing_iters": "routing.iters",
    "routing_iterations": "routing.iters",
    "dropout": "model.dropout",
    "patience": "early_stopping.patience",
    "devices": "trainer.devices",
    "accelerator": "trainer.accelerator",
    "precision": "trainer.precision",
    "compile": "trainer.compile",
    "gpus": "trainer=gpu takes one GPU, trainer=ddp trainer.devices=N several",
    "num_gpus": "trainer=gpu takes one GPU, trainer=ddp trainer.devices=N several",
    "num_workers": _NO_WORKERS,
    "persistent_workers": _NO_WORKERS,
    "pin_memory": _NO_WORKERS,
    "ckpt_path": f"{_CHECKPOINT}; evaluate.py run=RUN_DIR tests it",
    "checkpoint": _CHECKPOINT,
    "resume_from_checkpoint": "resume=RUN_DIR continues a run",
    "pretrained": "init=RUN_DIR, or init=kmnist_7k, begins with trained weights",
    "weights": "init=RUN_DIR, or init=kmnist_7k, begins with trained weights",
    "data_dir": "data.root",
    "data_root": "data.root",
    "root": "data.root",
    "output_dir": "hydra.run.dir",
    "dataset": "data",
    "datamodule": "data",
    "network": "model",
    "net": "model",
    "arch": "model",
    "task_name": "name",
    "experiment_name": "name",
    "run_name": "name",
    "hparams_search": "sweep=optuna searches; sweep=NAME is a sweep of configs/sweep/",
    "debug": "trainer=debug trains a few batches; trainer.fast_dev_run=true two",
    "train": "train.py always trains, and tests the best epoch at the end",
    "test": "the best epoch is always tested, once; evaluate.py run=RUN_DIR does it again",
    "optimized_metric": "monitor",
    "robustness": "evaluate.py run=RUN_DIR robustness=true measures it",
    "extras": "--cfg job prints the whole config, and trains nothing",
    "paths": "data.root is the folder of the datasets, hydra.run.dir that of the run",
    "print_config": "--cfg job prints the whole config, and trains nothing",
    "cp": "--config-dir=DIR adds a folder with YAML files of yours",
    "config_path": "--config-dir=DIR adds a folder with YAML files of yours",
    "model_checkpoint": "best.ckpt and last.ckpt are always saved; callbacks=top_k keeps more",
}
"""By the name that people type, alone or as the last part of a key: the key here, which takes the same values; or where
there is none, in several words, what to do instead."""

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
    if found is None or " " in found:
        return found
    return f"use {found}" + ("" if value is None else f"={value}")
