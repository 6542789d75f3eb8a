"""Claims about the optimizers: how the learning rate goes, and what decays."""

import math

import pytest
import torch

from capsnet.errors import ConfigError
from capsnet.settings.optimizer import SGD, Adam, AdamW, Torch
from capsnet.settings.parse import config_from_dict


def rates(option, epochs):
    """The learning rate of each epoch."""
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer, schedule = option.build([weight], fused=False, epochs=epochs)
    weight.sum().backward()
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_a_cosine_falls_from_the_learning_rate_to_zero_after_the_last_epoch():
    expected = [0.4 * (1 + math.cos(math.pi * epoch / 8)) / 2 for epoch in range(8)]
    assert rates(Adam(lr=0.4, schedule="cosine"), 8) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("schedule", "after"), [("exponential", [0.8, 0.4, 0.2]), ("cosine", [0.8, 0.6, 0.2])], ids=["falling", "cosine"]
)
def test_the_learning_rate_rises_in_even_steps_and_then_follows_its_schedule(schedule, after):
    option = Adam(lr=0.8, lr_decay=0.5, schedule=schedule, warmup_epochs=3)
    assert rates(option, 6) == pytest.approx([0.2, 0.4, 0.6, *after])


def test_the_learning_rate_falls_to_the_least_one_and_stays():
    assert rates(Adam(lr=0.8, lr_decay=0.5, min_lr=0.3), 4) == pytest.approx([0.8, 0.4, 0.3, 0.3])
    for wrong in ({"lr": 0.1}, {"lr": 0.8, "schedule": "cosine"}):
        with pytest.raises(ConfigError, match=r"optimizer\.min_lr=0.3"):
            Adam(**wrong, min_lr=0.3).check()


@pytest.mark.parametrize("schedule", ["exponential", "cosine"])
def test_a_warm_up_may_take_the_whole_training(schedule):
    assert rates(Adam(lr=0.4, schedule=schedule, warmup_epochs=1), 1) == [0.2]


def test_with_every_step_the_learning_rate_rises_and_falls_within_epochs():
    weight = torch.nn.Parameter(torch.ones(1))
    option = Adam(lr=1.0, schedule="cosine", warmup_epochs=1, every_step=True)
    optimizer, schedule = option.build([weight], fused=False, epochs=3, steps=12)
    found = []
    for _ in range(12):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    falling = [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, *falling])


def test_one_cycle_is_that_of_torch():
    rates_of_torch, weight = [], torch.nn.Parameter(torch.ones(1))
    wanted = torch.optim.SGD([weight], lr=0.5)
    cycle = torch.optim.lr_scheduler.OneCycleLR(wanted, 0.5, total_steps=40, cycle_momentum=False)
    optimizer, schedule = SGD(lr=0.5, schedule="one_cycle").build([weight], fused=False, epochs=4, steps=40)
    found = []
    for _ in range(39):
        for one, its, kept in ((wanted, cycle, rates_of_torch), (optimizer, schedule, found)):
            kept.append(one.param_groups[0]["lr"])
            one.step()
            its.step()
    assert found == pytest.approx(rates_of_torch)


def test_what_is_not_an_optimizer_is_refused():
    for target, words in (
        ("torch.nn.Linear", "no optimizer|Linear"),
        ("no.such.Class", "no.such.Class"),
        (None, "CLASS"),
    ):
        with pytest.raises(ConfigError, match=words):
            Torch(_target_=target).build([torch.nn.Parameter(torch.ones(1))], fused=False, epochs=1)


def test_a_warm_up_longer_than_the_training_is_refused():
    with pytest.raises(ConfigError, match=r"optimizer.warmup_epochs=11: there are only trainer.max_epochs=10 epochs"):
        config_from_dict({"optimizer": {"warmup_epochs": 11}, "trainer": {"max_epochs": 10}})


@pytest.mark.parametrize("fused", [False, True])
def test_weight_decay_shrinks_weights_but_not_biases(fused):
    layers = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    with torch.no_grad():
        for weight in layers.parameters():
            weight.fill_(1.0)
    optimizer, _ = AdamW(lr=0.1, weight_decay=0.2).build(layers.parameters(), fused, epochs=1)
    for weight in layers.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    for weight in layers.parameters():
        expected = 1 - 0.1 * 0.2 if weight.ndim == 2 else 1.0
        torch.testing.assert_close(weight, torch.full_like(weight, expected))


def test_without_weight_decay_adamw_is_adam():
    ends = []
    for option in (Adam(), AdamW(weight_decay=0.0)):
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 12).view(3, 4))
        optimizer, _ = option.build([weight], fused=False, epochs=1)
        for _ in range(5):
            optimizer.zero_grad()
            weight.pow(4).sum().backward()
            optimizer.step()
        ends.append(weight.detach())
    torch.testing.assert_close(*ends)
