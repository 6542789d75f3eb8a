"""The whole config of a run, as typed settings: one option of each group, and the settings that all runs share.

Plain dataclasses, without Hydra or torch. The modules beside this one have the defaults, ranges and meanings. The YAML
files under `configs/` contain only what differs from the defaults.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, get_type_hints

from ..errors import ConfigError
from ..text import either
from . import augment, data, foreign, loss, metrics, model, optimizer, routing, task
from .combination import Combination
from .early_stopping import EarlyStopping
from .setting import Setting, setting, setting_of
from .trainer import Trainer

OPTIONS: dict[str, dict[str, type]] = {
    "data": data.OPTIONS,
    "model": model.OPTIONS,
    "routing": routing.OPTIONS,
    "loss": loss.OPTIONS,
    "optimizer": optimizer.OPTIONS,
    "task": task.OPTIONS,
}
"""Options of which a config has one, by group and name; the first of a group is its default."""

COMBINABLE: dict[str, dict[str, type]] = {"augment": augment.OPTIONS, "metrics": metrics.OPTIONS}
"""Options of which a config may have several, by group and name. The group's section is a `Combination`."""

ALL_OPTIONS = OPTIONS | COMBINABLE
"""Every option by group and name. Plugins add to it, see `plugins.py`."""

SHARED: dict[str, type] = {"data": data.Data}
"""Settings that all options of a group share; the option itself is the field `source`."""

SINGLE: dict[str, type] = {"trainer": Trainer, "early_stopping": EarlyStopping}
"""Sections without options, by name."""


@dataclass
class Config:
    data: data.Data
    augment: augment.Augment
    model: Any
    routing: Any
    loss: Any
    optimizer: optimizer.Optimizer
    task: Any
    metrics: metrics.Metrics
    trainer: Trainer
    early_stopping: EarlyStopping
    seed: int = setting(
        0,
        "fixes initial weights, validation split, order and augmentation",
        at_least=0,
        at_most=2**32 - 1,
        evaluated=False,
    )
    monitor: str | None = setting(
        None,
        "by what the best epoch is chosen, such as balanced_accuracy or val/loss; null: by what suits the task",
        evaluated=False,
        hyperparameter=False,
    )
    name: str | None = setting(
        None,
        "letters, digits and . _ + = - that label the run: its folder, its record, what loggers show",
        check=lambda name: re.fullmatch(r"[\w.+=-]+", name) is not None,
        trained=False,
        evaluated=False,
    )
    tags: list[str] = dataclasses.field(
        default_factory=list,
        metadata={"setting": Setting("words by which `capsnet runs` finds it", trained=False, evaluated=False)},
    )
    init: str | None = setting(
        None,
        "begin with the weights of a run's folder, a checkpoint or a model that comes with the project",
        evaluated=False,
    )
    freeze: bool = setting(False, "with init: train only the class layer and what follows it", evaluated=False)
    figures: bool = setting(True, "draw figures after the test", trained=False, hyperparameter=False)
    plugin: str | None = setting(None, "a Python file with more options", trained=False, hyperparameter=False)
    logger: dict[str, Any] = foreign.section("loggers, chosen by logger=[NAME,NAME]", "tensorboard")
    callbacks: dict[str, Any] = foreign.section("Lightning's callbacks or yours, chosen by callbacks=[NAME,NAME]")


class Leaf(NamedTuple):
    """One setting of a config."""

    key: str
    """Dotted, such as routing.iters."""
    value: Any
    setting: Setting


def option_of(group: str, section: Any) -> Any:
    """The option in a config's section, without the settings that its group shares."""
    return section.source if group in SHARED else section


def name_of(group: str, option: Any) -> str:
    """An option's name, such as "capsnet"."""
    return next(name for name, option_class in OPTIONS[group].items() if type(option) is option_class)


def fields_of(group: str, name: str) -> list[tuple[type, dataclasses.Field]]:
    """The settings of an option, those that its group shares first, each with the class that has it."""
    shared, option = SHARED.get(group), OPTIONS[group][name]
    fields = [(shared, field) for field in dataclasses.fields(shared) if field.name != "source"] if shared else []
    return fields + [(option, field) for field in dataclasses.fields(option)]


def suits_of(group: str, name: str) -> dict[str, Any]:
    """What suits an option, in its class's attribute `suits`: settings by dotted key, options by group.

    It counts where nothing else is asked for. An option may choose options only of groups that come later in OPTIONS.
    If two options disagree, the one of the earlier group counts. A network that has no capsules needs no routing.
    """
    option = OPTIONS[group][name]
    without = {"routing": "none"} if group == "model" and not getattr(option, "capsules", True) else {}
    return without | getattr(option, "suits", {})


class Monitor(NamedTuple):
    """What tells the best epoch."""

    name: str
    """Such as val/accuracy."""
    lower_is_better: bool
    unknown: bool = False
    """Nobody has declared it, so it must be a loss."""

    def is_better(self, value: float, than: float) -> bool:
        return value < than if self.lower_is_better else value > than

    def improves(self, metrics: Mapping[str, float], on: Mapping[str, float]) -> bool:
        """Is an epoch with these metrics better than another? Few validation images are soon all recognized, and many
        epochs equal: then the one with less loss, which still tells how sure the network is (benchmarks/RESULTS.md)."""
        value, best = metrics[self.name], on[self.name]
        return self.is_better(value, best) or (value == best and metrics.get("val/loss", 0) < on.get("val/loss", 0))


def monitor_of(config: Config) -> Monitor:
    """By what a run's best epoch is chosen."""
    return monitor_named(config.monitor, config.task)


def monitor_named(monitor: str | None, task: Any) -> Monitor:
    """What `monitor=NAME` means. Lower losses are better, and higher metrics unless their option or the task says so.

    Args:
        monitor: such as balanced_accuracy or val/loss; None: the task's own.
        task: its option.
    """
    split, _, name = (monitor or task.monitor).rpartition("/")
    full = f"{split or 'val'}/{name}"
    if (metric := measured_by(name)) is not None:
        return Monitor(full, getattr(COMBINABLE["metrics"][metric], "lower_is_better", False))
    if name in names_measured(task.monitor, task):
        return Monitor(full, name in getattr(task, "lower_is_better", ()))
    return Monitor(full, lower_is_better=True, unknown=True)


def measured_by(name: str) -> str | None:
    """The metric, of all options, that measures this name: its own, or one of those in its class's attribute `also`."""
    return next((own for own, option in COMBINABLE["metrics"].items() if name in names_measured(own, option)), None)


def names_measured(own: str, option: Any) -> tuple[str, ...]:
    """What an option of a metric or a task measures: its own name, and those in its class's attribute `also`."""
    return (own, *getattr(option, "also", ()))


def build_loss(option: Any) -> Any:
    """The loss of an option, as a `losses.Loss`, also if it is a plain function."""
    from ..losses import AdaptedLoss, Loss

    built = option.build()
    return built if isinstance(built, Loss) else AdaptedLoss(built, getattr(option, "logits", False))


def build_metrics(config: Config) -> dict[str, Any]:
    """New metrics by name: those that are chosen, and the one by which the best epoch is."""
    options = dict(config.metrics.options)
    monitored = measured_by(monitor_of(config).name.rpartition("/")[2])
    if monitored is not None and monitored not in options:
        options[monitored] = COMBINABLE["metrics"][monitored]()
    several = getattr(config.task, "several_classes", False)
    fitting = {name: option for name, option in options.items() if not several or takes_several_classes(option)}
    return {name: option.build() for name, option in fitting.items()}


def takes_several_classes(metric: Any) -> bool:
    """Does the metric of an option take targets with several classes an image?"""
    return getattr(metric, "several_classes", False)


def name_setting(group: str) -> Setting:
    """What is known about the setting GROUP.name."""
    return Setting(f"the option, chosen by {group}=NAME", evaluated=group != "optimizer")


@cache
def section_class(group: str) -> type:
    """The dataclass of a config's section."""
    return get_type_hints(Config)[group]


def settings_of(section: type) -> list[dataclasses.Field]:
    """The settings of a section's class itself, not of the options that it combines."""
    inner = "options" if issubclass(section, Combination) else None
    return [field for field in dataclasses.fields(section) if field.name != inner]


def combined_setting(group: str, field: dataclasses.Field) -> Setting:
    """What is known about a setting of an option that can be combined."""
    known, purpose = setting_of(field), section_class(group).purpose
    return dataclasses.replace(
        known,
        trained=known.trained and purpose.trained,
        evaluated=known.evaluated and purpose.evaluated,
        hyperparameter=known.hyperparameter and purpose.hyperparameter,
    )


def leaves(config: Config) -> Iterator[Leaf]:
    """Every setting of a config, group by group."""
    for entry in dataclasses.fields(config):
        section = getattr(config, entry.name)
        if entry.name in OPTIONS:
            option = option_of(entry.name, section)
            yield Leaf(f"{entry.name}.name", name_of(entry.name, option), name_setting(entry.name))
            for owner, field in fields_of(entry.name, name_of(entry.name, option)):
                holder = option if isinstance(option, owner) else section
                yield Leaf(f"{entry.name}.{field.name}", getattr(holder, field.name), setting_of(field))
        elif dataclasses.is_dataclass(section):
            for field in settings_of(type(section)):
                yield Leaf(f"{entry.name}.{field.name}", getattr(section, field.name), setting_of(field))
            if entry.name in COMBINABLE:
                yield from _combined_leaves(entry.name, section)
        else:
            yield Leaf(entry.name, section, setting_of(entry))


def _combined_leaves(group: str, section: Combination) -> Iterator[Leaf]:
    """GROUP.names, which says which options are combined and in which order, and their settings as GROUP.NAME.KEY."""
    yield Leaf(f"{group}.names", ",".join(section.options), section.purpose)
    for name, option in section.options.items():
        for field in dataclasses.fields(option):
            yield Leaf(f"{group}.{name}.{field.name}", getattr(option, field.name), combined_setting(group, field))


def hyperparameters(config: Config) -> dict[str, Any]:
    """What loggers show of a config, by key; what they cannot show as it is, as text."""
    return {
        key: value if isinstance(value, bool | int | float | str) else str(value)
        for key, value, setting in leaves(config)
        if setting.hyperparameter and value is not None
    }


def known_settings() -> Iterator[tuple[str, Setting]]:
    """Every setting that a config can have, with any options. Options of a group may have settings of the same key."""
    for entry in dataclasses.fields(Config):
        group, section = entry.name, section_class(entry.name)
        if group in OPTIONS:
            for name in OPTIONS[group]:
                yield from ((f"{group}.{field.name}", setting_of(field)) for _, field in fields_of(group, name))
        elif dataclasses.is_dataclass(section):
            yield from ((f"{group}.{field.name}", setting_of(field)) for field in settings_of(section))
        else:
            yield group, setting_of(entry)
        for name, option in COMBINABLE.get(group, {}).items():
            for field in dataclasses.fields(option):
                yield f"{group}.{name}.{field.name}", combined_setting(group, field)


def saved_leaves(saved: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a saved config by dotted key, without loggers and callbacks; its options need not be known here."""
    values: dict[str, Any] = {}
    for name, value in saved.items():
        if not prefix and name in foreign.SECTIONS:
            continue
        within = isinstance(value, dict) and value
        values |= saved_leaves(value, f"{prefix}{name}.") if within else {f"{prefix}{name}": value}
    return values


def untrained_keys() -> set[str]:
    """The keys of all options that are not part of what is trained, such as data.root and figures."""
    keys = {key for key, setting in known_settings() if not setting.trained}
    for group, options in COMBINABLE.items():
        if not section_class(group).purpose.trained:
            keys |= {f"{group}.{name}" for name in ("names", *options)}
    return keys


def as_dict(config: Config) -> dict[str, Any]:
    """A config as nested plain values, as it is saved."""
    nested: dict[str, Any] = {}
    for key, value, _ in leaves(config):
        *groups, name = key.split(".")
        section = nested
        for group in groups:
            section = section.setdefault(group, {})
        if key in {f"{group}.names" for group in COMBINABLE}:
            section |= {option: {} for option in getattr(config, groups[0]).options}  # also those without settings
        else:
            section[name] = value
    return nested


def check(config: Config) -> None:
    """Check that every value is in its range, and that the values do not contradict each other.

    Raises:
        ConfigError: names the key, the value and what is allowed.
    """
    for leaf in leaves(config):
        leaf.setting.check_value(leaf.key, leaf.value)
    for entry in dataclasses.fields(config):
        section = getattr(config, entry.name)
        option = option_of(entry.name, section) if entry.name in OPTIONS else section
        combined = option.options.values() if isinstance(option, Combination) else ()
        for checked in (option, *combined):
            if callable(check_option := getattr(checked, "check", None)):
                check_option()
    if config.freeze and config.init is None:
        raise ConfigError("freeze=true: keeps weights as they are, so it needs init=RUN_OR_MODEL")
    routing, model = name_of("routing", config.routing), name_of("model", config.model)
    capsules = getattr(config.model, "capsules", None)  # a plugin's network need not say
    if capsules is False and routing != "none":
        raise ConfigError(f"routing={routing}: model={model} has no capsules to route; use routing=none")
    if capsules and routing == "none":
        raise ConfigError(f"routing=none: model={model} needs a routing, such as routing=dynamic")
    build = "build_matrices" if getattr(config.model, "matrices", False) else "build"
    if capsules and not hasattr(config.routing, build):
        possible = either(
            name for name, option in OPTIONS["routing"].items() if hasattr(option, build) and name != "none"
        )
        raise ConfigError(f"routing={routing}: cannot route the capsules of model={model}; choose {possible}")
    warmup, epochs = config.optimizer.warmup_epochs, config.trainer.max_epochs
    if warmup > epochs:
        raise ConfigError(f"optimizer.warmup_epochs={warmup}: there are only trainer.max_epochs={epochs} epochs")
    val_size, patience = config.data.val_size, config.early_stopping.patience
    if val_size >= 1 and val_size != int(val_size):
        raise ConfigError(f"data.val_size={val_size}: must be a share below 1, or a whole number of images")
    if val_size == 0 and patience is not None:
        raise ConfigError(f"early_stopping.patience={patience}: needs validation images, but data.val_size=0")
    if getattr(config.task, "several_classes", False):
        _check_several_classes(config)
    foreign.check_sections(config)


def _check_several_classes(config: Config) -> None:
    """Raise ConfigError for what has one class an image, where the task has several."""
    task = name_of("task", config.task)
    if config.augment.mixup:
        raise ConfigError(f"augment.mixup={config.augment.mixup:g}: task={task} lays images over each other already")
    if config.data.class_weights is not None:
        raise ConfigError(
            f"data.class_weights={config.data.class_weights}: is for one class an image, and task={task} has several"
        )
    for name, option in config.metrics.options.items():
        if name not in type(config.metrics).default and not takes_several_classes(option):
            raise ConfigError(f"metrics={name}: is for one class an image, and task={task} has several")


def check_new(config: Config) -> None:
    """Raise ConfigError for what no new training should do. Not in `check`: saved configs with it have to be read."""
    if not getattr(config.task, "several_classes", False):
        return
    task = name_of("task", config.task)
    if getattr(config.model, "matrices", False) and getattr(config.routing, "sums_to_one", False):
        routing = name_of("routing", config.routing)
        raise ConfigError(
            f"routing={routing}: the activations of its matrix capsules sum to 1 over the classes, and task={task} has"
            " several classes an image; choose em or vb"
        )
    if getattr(config.loss, "label_smoothing", 0):
        smoothing = config.loss.label_smoothing
        raise ConfigError(f"loss.label_smoothing={smoothing:g}: is for one class an image, and task={task} has several")
