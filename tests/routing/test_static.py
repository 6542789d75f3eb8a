"""Claims about static routing: couplings that are learned, and do not depend on the image."""

import reference
import torch
from reference import capsules

from capsnet.routing.static import StaticRouting


def test_agrees_with_its_couplings_written_out_and_starts_as_uniform_routing():
    u, weight = capsules()
    layer = StaticRouting(in_caps=7, in_dim=4, out_caps=5, out_dim=6).double()
    layer.load_state_dict({"weight": weight, "logits": torch.zeros(5, 7)})
    torch.testing.assert_close(layer(u), reference.uniform_routing(u, weight))
    torch.nn.init.normal_(layer.logits)
    coupling = layer.logits.exp() / layer.logits.exp().sum(0)
    expected = reference.squash(torch.einsum("oi,bioe->boe", coupling, reference.predictions(u, weight)))
    torch.testing.assert_close(layer(u), expected)
    layer(u).square().sum().backward()
    assert layer.logits.grad.abs().min() > 0
