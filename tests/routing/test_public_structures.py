"""The routings that the benchmarks measure ours against compute what they should."""

import importlib.util

import pytest
import torch
from conftest import REPO

from capsnet import dynamic_routing, squash


@pytest.fixture(scope="module")
def baselines():
    spec = importlib.util.spec_from_file_location("baselines", REPO / "benchmarks/baselines.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.OPTIONS["routing"]


@pytest.mark.parametrize("name", ["einsum", "matmul"])
@pytest.mark.parametrize("iters", [1, 3])
def test_two_of_them_compute_dynamic_routing(baselines, name, iters):
    routing, u = baselines[name](iters=iters).build(12, 8, 5, 16), torch.randn(3, 12, 8)
    torch.testing.assert_close(routing(u), dynamic_routing(u, routing.weight, iters))


def test_the_third_shares_each_class_among_the_input_capsules(baselines):
    routing, u = baselines["priors"](iters=1).build(12, 8, 5, 16), torch.randn(3, 12, 8)
    mean = torch.einsum("bid,oide->boie", u, routing.weight).mean(2)
    torch.testing.assert_close(routing(u), squash(mean))
