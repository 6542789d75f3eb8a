"""Claims about routing's iterations as they are shown: they are those that the routings take, step by step."""

from functools import partial

import pytest
import torch
from torch import nn

from capsnet.routing.attention import AttentionRouting
from capsnet.routing.dynamic import DynamicRouting, dynamic_routing
from capsnet.routing.inverted import InvertedRouting
from capsnet.routing.static import StaticRouting
from capsnet.routing.uniform import UniformRouting

SHAPE = 30, 8, 5, 16  # in_caps, in_dim, out_caps, out_dim


@pytest.fixture
def u():
    return 0.3 * torch.randn(SHAPE[0], SHAPE[1], dtype=torch.float64)


@pytest.mark.parametrize(
    "build",
    [
        *(partial(DynamicRouting, iters=4), partial(DynamicRouting, iters=3, bias=True, leaky=True)),
        *(UniformRouting, StaticRouting, partial(InvertedRouting, iters=3)),
        *(AttentionRouting, partial(AttentionRouting, scale="out_dim")),
    ],
)
def test_the_last_step_gives_what_the_routing_gives(build, u):
    routing = build(*SHAPE).double()
    for name, parameter in routing.named_parameters():
        if name in ("prior", "logits", "bias"):
            nn.init.normal_(parameter)
    with torch.no_grad():
        torch.testing.assert_close(routing.steps(u)[-1].capsules, routing(u[None])[0])


def test_every_iteration_of_dynamic_routing_is_a_step(u):
    routing = DynamicRouting(*SHAPE, iters=3).double()
    with torch.no_grad():
        steps = routing.steps(u)
        assert len(steps) == 3
        for number, step in enumerate(steps, 1):
            expected = dynamic_routing(u[None], routing.weight, iters=number)[0]
            torch.testing.assert_close(step.capsules, expected)
            torch.testing.assert_close(step.coupling.sum(0), torch.ones(30).double())
    torch.testing.assert_close(steps[0].coupling, torch.full((5, 30), 0.2).double())
