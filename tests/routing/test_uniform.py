"""Claims about uniform routing, held against equal coupling coefficients written out in float64."""

import pytest
import reference
import torch
from reference import capsules

from capsnet.routing.uniform import UniformRouting


@pytest.mark.parametrize("out_caps", [1, 5])
def test_agrees_with_equal_coupling_coefficients_in_value_and_gradient(out_caps):
    u, weight = capsules(out_caps=out_caps)
    towards = torch.randn(3, out_caps, 6, dtype=torch.float64)
    layer = UniformRouting(in_caps=7, in_dim=4, out_caps=out_caps, out_dim=6).double()
    layer.load_state_dict({"weight": weight})
    ours, theirs = u.clone().requires_grad_(), u.clone().requires_grad_()
    v, expected = layer(ours), reference.uniform_routing(theirs, weight.requires_grad_())
    (v * towards).sum().backward()
    (expected * towards).sum().backward()
    for found, written_out in ((v, expected), (ours.grad, theirs.grad), (layer.weight.grad, weight.grad)):
        torch.testing.assert_close(found, written_out, rtol=1e-10, atol=1e-12)


def test_owns_one_matrix_for_each_pair_of_capsules():
    layer = UniformRouting(in_caps=7, in_dim=4, out_caps=5, out_dim=6)
    assert {name: parameter.shape for name, parameter in layer.named_parameters()} == {"weight": (5, 7, 4, 6)}
