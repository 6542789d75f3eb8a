"""Routings and networks against what the code of their papers' authors computes, in float64 unless said otherwise.

The files are described in their own README; docs/audit.md tells where that code differs from the papers.
"""

import math

import pytest
import torch
from authors import Results, assert_equals, of_parents, poses_of_parents, seen, shares, votes
from conftest import wanted
from torch.nn import functional as F

from capsnet import CapsNet, dynamic_routing, margin_loss
from capsnet.losses import CrossEntropyLoss
from capsnet.networks.conv_capsules import Capsules, ConvCapsules
from capsnet.networks.efficient_capsnet import EfficientCapsNet
from capsnet.networks.matrix_capsnet import MatrixCapsNet
from capsnet.routing.attention import attention_routing
from capsnet.routing.em import em_routing
from capsnet.routing.inverted import inverted_attention, inverted_routing
from capsnet.routing.self_routing import self_routing
from capsnet.routing.vb import vb_routing
from capsnet.settings.routing import Attention, Dynamic, Inverted, Vb

STRIDES = {"stride1": 1, "stride2": 2, "class": 1, "clamped": 1}
KERNELS = {"stride1": 3, "stride2": 3, "class": 4, "clamped": 3}


def gradients(outputs, towards, *inputs):
    """Of Σ outputs * towards, at the inputs."""
    return torch.autograd.grad((outputs * towards).sum(), inputs)


def load(network, weights):
    """Give a network weights by name; those that it has beside them stay."""
    own = network.state_dict()
    assert weights.keys() <= own.keys()
    network.load_state_dict(own | weights)


class TestDynamicRouting:
    @pytest.mark.parametrize("iters", [1, 2, 3])
    @pytest.mark.parametrize("biased", ["bias", "no_bias"])
    @pytest.mark.parametrize("leaky", ["plain", "leaky"])
    def test_gives_the_capsules_and_gradients_of_the_authors(self, leaky, biased, iters):
        results = Results("dynamic_routing")
        case = f"{leaky}/{biased}/{iters}_iterations"
        u = results["u"].requires_grad_()
        matrices = results["W"].unflatten(2, (5, 16)).permute(2, 0, 1, 3).contiguous().requires_grad_()
        bias = (results["bias"] * (biased == "bias")).requires_grad_()
        v = dynamic_routing(u, matrices, iters, bias, leaky == "leaky")
        assert_equals(v, results[f"{case}/v"])
        at_u, at_matrices, at_bias = gradients(v, results["g"], u, matrices, bias)
        assert_equals(at_u, results[f"{case}/grad_u"])
        assert_equals(at_bias, results[f"{case}/grad_bias"])
        if f"{case}/grad_W" in results:
            assert_equals(at_matrices.permute(1, 2, 0, 3).flatten(2), results[f"{case}/grad_W"])
        if biased == "no_bias" and leaky == "plain":
            assert_equals(dynamic_routing(u, matrices, iters), results[f"{case}/v"])

    def test_the_margin_loss_is_twenty_times_the_authors_mean(self):
        results = Results("dynamic_routing")
        lengths, labels = results["margin_loss/lengths"], results["margin_loss/labels_one_hot"].argmax(1)
        theirs = results["margin_loss/mean_over_batch_and_classes"]
        assert_equals(margin_loss(lengths, labels)[None], 20 * theirs[None], 1e-6)


@pytest.mark.parametrize(("scale", "prefix"), [("out_dim", ""), ("in_dim", "scale_by_in_dim/")])
def test_attention_routing_gives_the_capsules_and_gradients_of_the_authors(scale, prefix):
    results = Results("attention_routing")
    inputs = [results["u"], results["W"].permute(0, 1, 2, 3).contiguous(), results["b"].squeeze(2)]
    u, matrices, prior = (one.requires_grad_() for one in inputs)
    v = attention_routing(u, matrices, prior, scale)
    assert_equals(v, results[f"{prefix}v"])
    at_u, at_matrices, at_prior = gradients(v, results["g"], u, matrices, prior)
    assert_equals(at_u, results[f"{prefix}grad_u"])
    assert_equals(at_matrices, results[f"{prefix}grad_W"])
    assert_equals(at_prior.unsqueeze(2), results[f"{prefix}grad_b"])


class TestCapsNet:
    @pytest.mark.parametrize("iters", [1, 3])
    def test_is_the_network_of_its_authors(self, iters):
        results = Results("capsnet_2017_sarasra")
        network = CapsNet(primary_capsules=2, divide_primary=True, routing=Dynamic(iters, bias=True)).double()
        load(network, self.weights(results, "conv1/kernel_hwio", "conv1/biases"))
        images = results["images"].unsqueeze(1)
        with torch.no_grad():
            primary = network.primary(network.conv(images).relu()).view(2, 2, 6, 6, 8)
            assert_equals(primary.movedim(4, 2), results["primary_capsules_tlhw"], 1e-10)
            output = network(images)
        assert_equals(output.capsules, results[f"class_capsules_{iters}_iterations"], 1e-10)
        assert_equals(output.scores, results[f"lengths_{iters}_iterations"], 1e-10)

    @pytest.mark.parametrize("iters", [1, 2, 3])
    def test_is_the_network_of_the_authors_of_efficient_capsnet_but_for_their_epsilon(self, iters):
        results = Results("capsnet_2017_escvm")
        network = CapsNet(
            conv_channels=12, primary_capsules=5, divide_primary=True, routing=Dynamic(iters, bias=True)
        ).double()
        weights = self.weights(results, "conv/kernel_hwio", "conv/bias")
        by_place = weights["routing.weight"].unflatten(1, (36, 5)).transpose(1, 2).flatten(1, 2)
        load(network, weights | {"routing.weight": by_place})
        with torch.no_grad():
            capsules = network(results["images_nhwc"].movedim(3, 1)).capsules
        assert_equals(capsules, results[f"class_capsules_{iters}_iterations"], 5e-7)

    @staticmethod
    def weights(results, kernel, bias):
        """The encoder's, by their names here; the class capsules' in the order of the file."""
        return {
            "conv.weight": results[kernel].permute(3, 2, 0, 1),
            "conv.bias": results[bias],
            "primary.conv.weight": results["primary/kernel_hwio"].permute(3, 2, 0, 1),
            "primary.conv.bias": results["primary/biases"].flatten(),
            "routing.weight": results["class/W"].unflatten(2, (10, 16)).permute(2, 0, 1, 3),
            "routing.bias": results["class/biases"],
        }


class TestEfficientCapsNet:
    @pytest.fixture
    def results(self):
        return Results("efficient_capsnet_mnist")

    @pytest.fixture
    def network(self, results):
        network = EfficientCapsNet(routing=Attention(scale="out_dim")).double()
        weights = {
            "primary.weight": results["primary/kernel_hwio"][:, :, 0].movedim(2, 0),
            "primary.bias": results["primary/bias"],
            "routing.weight": results["class/W"],
            "routing.prior": results["class/b"].squeeze(2),
        }
        for number in range(4):
            convolution, norm, theirs = f"stem.{3 * number}", f"stem.{3 * number + 2}", number + 1
            weights[f"{convolution}.weight"] = results[f"conv{theirs}/kernel_hwio"].permute(3, 2, 0, 1)
            weights[f"{convolution}.bias"] = results[f"conv{theirs}/bias"]
            weights |= {
                f"{norm}.weight": results[f"bn{theirs}/gamma"],
                f"{norm}.bias": results[f"bn{theirs}/beta"],
                f"{norm}.running_mean": results[f"bn{theirs}/moving_mean"],
                f"{norm}.running_var": results[f"bn{theirs}/moving_variance"],
            }
        load(network, weights)
        return network

    @pytest.mark.parametrize("mode", ["", "training_mode/"])
    def test_is_the_network_of_its_authors_at_their_scale(self, results, network, mode):
        images = results["images_nhwc"].movedim(3, 1)
        with torch.no_grad():
            capsules = network.train(bool(mode)).encode(images)
        assert_equals(capsules, results[f"{mode}class_capsules"], 1e-10)


class TestEMRouting:
    @pytest.mark.parametrize("iters", [1, 2, 3])
    @pytest.mark.parametrize("case", ["stride1", "stride2", "class"])
    def test_is_procedure_1_in_every_iteration(self, case, iters):
        results = Results("em_routing")
        for start, prefix in (("parents", ""), ("types", "start_types/"), ("all_parents", "start_all_parents/")):
            expected = f"{case}/{prefix}iteration{iters}"
            if f"{expected}/activations" not in results:
                continue
            found = self.route(results, case, iters, start=start)
            assert_equals(found.activations, of_parents(results[f"{expected}/activations"]))
            if f"{expected}/means" in results:
                assert_equals(found.poses, poses_of_parents(results[f"{expected}/means"]))
        assert_equals(self.route(results, case, iters).coupling, shares(results[f"{case}/iteration{iters}/R"]))

    @staticmethod
    def route(results, case, iters, **settings):
        windows, activations = seen(results[f"{case}/activations_in"], KERNELS[case], STRIDES[case])
        betas = (results[f"{case}/beta_u"], results[f"{case}/beta_a"])
        return em_routing(votes(results[f"{case}/votes"]), activations, *betas, windows, iters, **settings)

    @pytest.mark.parametrize("iters", [1, 2, 3])
    @pytest.mark.parametrize("case", ["stride1", "class"])
    def test_is_also_the_release_with_its_settings(self, case, iters):
        results = Results("em_routing_google")
        windows, activations = seen(results[f"{case}/activations_in"], KERNELS[case], 1)
        beta_u = results[f"{case}/sigma_biases"] * (math.log(2 * math.pi) + 1) / 2
        beta_a = -2500 * results[f"{case}/activation_biases"]
        of_case = {
            "stride1": {"final_lambda": 0.02, "competition": "positions", "mass_floor": 1e-7, "sum_floor": 1e-7},
            "class": {"final_lambda": 0.005, "mass_floor": 1e-5},
        }
        settings = of_case[case] | {"start": "types", "damping": 0.1, "variance_floor": 5e-4}
        found = em_routing(votes(results[f"{case}/votes"]), activations, beta_u, beta_a, windows, iters, **settings)
        assert_equals(found.activations, of_parents(results[f"{case}/iteration{iters}/activations"]))
        assert_equals(found.poses, poses_of_parents(results[f"{case}/iteration{iters}/means"]))


class TestVariationalBayesRouting:
    @pytest.mark.parametrize("iters", [1, 2, 3])
    @pytest.mark.parametrize("case", ["stride1", "stride2", "class", "clamped"])
    def test_is_that_of_its_authors_in_every_iteration(self, case, iters):
        results = Results("vb_routing")
        windows, activations = seen(results[f"{case}/activations_in_map"], KERNELS[case], STRIDES[case])
        betas = (results[f"{case}/beta_u"], results[f"{case}/beta_a"])
        found = vb_routing(votes(results[f"{case}/votes"]), activations, *betas, windows, iters)
        assert_equals(found.poses, poses_of_parents(results[f"{case}/iteration{iters}/m"]))
        logits = results[f"{case}/{iters}_iterations/activation_logits_before_batch_norm"]
        assert_equals(found.activations, of_parents(logits))
        assert_equals(found.coupling, shares(results[f"{case}/iteration{iters}/R"]))

    @pytest.fixture
    def results(self):
        return Results("vb_network")

    @pytest.fixture
    def network(self, results):
        network = MatrixCapsNet((2, 32, 32), 5, conv_stride=2, pad=False, routing=Vb()).double()
        theirs = {
            "stem.0.weight": "Conv_1.weight",
            "primary.conv.weight": "PrimaryCaps.weight",
            **{f"stem.1.{name}": f"BN_1.{name}" for name in ("weight", "bias", "running_mean", "running_var")},
        }
        for ours, norm in (("pose_norm", "BN_p"), ("activation_norm", "BN_a")):
            for name in ("weight", "bias", "running_mean", "running_var"):
                theirs[f"primary.{ours}.{name}"] = f"PrimaryCaps.{norm}.{name}"
        for number, routing in enumerate(("ConvRouting_1", "ConvRouting_2", "ClassRouting")):
            for ours, norm in (("pose_norm", "BN_v"), ("activation_norm", "BN_a")):
                for name in ("running_mean", "running_var"):
                    theirs[f"layers.{number}.routing.{ours}.{name}"] = f"{routing}.{norm}.{name}"
        weights = {ours: results[f"state/{name}"] for ours, name in theirs.items()}
        for number, (layer, routing) in enumerate(self.LAYERS):
            matrices = results[f"state/{layer}.W_ij"][0, :, :, 0, :, :, 0, 0]  # [children, parents, 4, 4, k, k]
            ours = matrices.permute(1, 0, 4, 5, 2, 3)
            weights[f"layers.{number}.weight"] = ours[:, :, 0, 0] if layer == "ClassCaps" else ours
            for beta in ("beta_u", "beta_a"):
                weights[f"layers.{number}.routing.{beta}"] = results[f"state/{routing}.{beta}"].flatten()
        load(network, weights)
        return network

    LAYERS = (("ConvCaps_1", "ConvRouting_1"), ("ConvCaps_2", "ConvRouting_2"), ("ClassCaps", "ClassRouting"))

    @pytest.mark.parametrize("mode", ["eval", "train"])
    def test_the_network_is_that_of_its_authors_with_coordinates_as_they_meant_them(self, results, network, mode):
        network.train(mode == "train")
        with torch.no_grad():
            primary, first, second, _ = network.all_layers(results["images_nchw"])
            poses, activations = network.encode(results["images_nchw"]) if mode == "eval" else (None, None)
        assert_equals(primary.activations, results[f"{mode}/PrimaryCaps/activations"], 1e-10)
        for capsules, layer in ((first, "ConvRouting_1"), (second, "ConvRouting_2")):
            assert_equals(capsules.activations, results[f"{mode}/{layer}/activations"], 1e-10)
            assert_equals(capsules.poses.permute(0, 1, 4, 5, 2, 3), results[f"{mode}/{layer}/poses"], 1e-10)
        if mode == "eval":
            expected = f"corrected_coordinates/{mode}/ClassRouting"
            assert_equals(activations, results[f"{expected}/activations"], 1e-10)
            assert_equals(poses, results[f"{expected}/poses"].flatten(2), 1e-10)

    def as_published(self, network):
        """With the constant that the authors' code adds in place of coordinates."""
        added = torch.zeros_like(network.layers[2].coordinates)
        added[[3, 7]] = 0.1
        network.layers[2].coordinates = added
        return network

    def test_with_the_authors_constant_for_coordinates_the_classes_are_theirs_too(self, results, network):
        output = self.as_published(network).eval()(results["images_nchw"])
        assert_equals(output.scores, results["eval/class_activations"], 1e-10)
        single = self.as_published(network).float()(results["images_nchw"].float())
        assert_equals(single.scores.double(), results["float32/eval/class_activations"], 1e-4)

    def test_training_gives_the_loss_the_gradients_and_the_statistics_of_the_authors(self, results, network):
        output = self.as_published(network).train()(results["images_nchw"])
        assert_equals(output.scores, results["train/class_activations"], 1e-10)
        loss = CrossEntropyLoss(activations="logits")(output, wanted(results["labels"].long(), None))["loss"]
        assert_equals(loss[None], results["train/cross_entropy"][None], 1e-10)
        loss.backward()

        def matrices(layer):
            return results[f"train/gradient/{layer}.W_ij"][0, :, :, 0, :, :, 0, 0]  # [children, parents, 4, 4, k, k]

        of_matrices = {
            "layers.1.weight": matrices("ConvCaps_2").permute(1, 0, 4, 5, 2, 3),
            "layers.2.weight": matrices("ClassCaps")[..., 0, 0].transpose(0, 1),
            "stem.0.weight": results["train/gradient/Conv_1.weight"],
            "primary.conv.weight": results["train/gradient/PrimaryCaps.weight"],
            "layers.0.routing.beta_u": results["train/gradient/ConvRouting_1.beta_u"].flatten(),
        }
        parameters = dict(network.named_parameters())
        betas = of_matrices.pop("layers.0.routing.beta_u")  # 0 but for rounding, since batch normalization removes it
        assert max(float(one.abs().max()) for one in (betas, parameters["layers.0.routing.beta_u"].grad)) < 1e-12
        for name, expected in of_matrices.items():
            assert_equals(parameters[name].grad, expected, 1e-10)
        state = network.state_dict()
        for number, (_, routing) in enumerate(self.LAYERS):
            for ours, norm in (("pose_norm", "BN_v"), ("activation_norm", "BN_a")):
                for name in ("running_mean", "running_var"):
                    expected = results[f"train/state_after/{routing}.{norm}.{name}"]
                    assert_equals(state[f"layers.{number}.routing.{ours}.{name}"], expected, 1e-10)


class TestInvertedDotProduct:
    @pytest.fixture
    def results(self):
        return Results("inverted_dot_product")

    @pytest.mark.parametrize("iters", [1, 2, 3])
    def test_between_two_layers_is_that_of_its_authors_with_and_without_votes(self, results, iters):
        u, matrices = results["fc/poses_in"].requires_grad_(), results["fc/w"].requires_grad_()
        weight, bias = results["fc/layer_norm_weight"].requires_grad_(), results["fc/layer_norm_bias"]
        as_vectors = torch.einsum("ae,nxcm->mnaxec", torch.eye(4).double(), matrices).flatten(4).flatten(2, 3)
        formed = torch.einsum("bnax,nxcm->bmacn", u.unflatten(2, (4, 4)), matrices).flatten(2, 3)[:, None]
        routed = inverted_routing(formed, weight, bias, iters=iters)
        expected = f"fc/num_routing_{iters}"
        if f"{expected}/coupling" in results:
            assert_equals(routed.coupling[:, 0].transpose(1, 2), results[f"{expected}/coupling"])
        for poses in (routed.poses[:, 0], inverted_attention(u, as_vectors, weight, bias, iters)):
            assert_equals(poses, results[f"{expected}/poses_out"])
            found = torch.autograd.grad((poses * results["fc/g"]).sum(), [u, matrices, weight], retain_graph=True)
            for gradient, name in zip(found, ("poses_in", "w", "layer_norm_weight"), strict=True):
                assert_equals(gradient, results[f"{expected}/grad_{name}"])

    @pytest.mark.parametrize("iters", [1, 2, 3])
    @pytest.mark.parametrize("stride", [1, 2])
    def test_a_convolutional_layer_is_that_of_its_authors_without_the_scrambled_poses(self, results, stride, iters):
        case = f"conv_stride{stride}"
        poses, matrices = results[f"{case}/poses_in"], results[f"{case}/w"]
        layer = ConvCapsules(3, 4, poses.shape[2], 3, stride, routing=Inverted(iters, order="sequential")).double()
        load(
            layer,
            {
                "weight": matrices.permute(5, 2, 0, 1, 3, 4),
                "routing.norm.weight": results[f"{case}/layer_norm_weight"],
                "routing.norm.bias": results[f"{case}/layer_norm_bias"],
            },
        )
        children = poses.unflatten(4, (4, 4)).requires_grad_()
        found = layer(Capsules(children, torch.ones_like(poses[..., 0]))).poses.flatten(4)
        expected = f"{case}/corrected/num_routing_{iters}"
        assert_equals(found, results[f"{expected}/poses_out"])
        at_poses, at_matrices = gradients(found, results[f"{case}/g"], children, layer.weight)
        assert_equals(at_poses.flatten(4), results[f"{expected}/grad_poses_in"])
        assert_equals(at_matrices.permute(2, 3, 1, 4, 5, 0), results[f"{expected}/grad_w"])

    @pytest.mark.parametrize("iters", [2, 3])
    def test_layers_take_turns_as_the_authors_do_or_one_finishes_first(self, results, iters):
        def routed(votes_of, norms, before):
            return inverted_routing(votes_of, *norms, iters=1, before=before).poses

        def votes_for(children, layer):
            matrices = results[f"two_layers/{layer}/w"]
            return torch.einsum("bnax,nxcm->bmacn", children.unflatten(2, (4, 4)), matrices).flatten(2, 3)[:, None]

        primary = results["two_layers/poses_in"]
        norms = {
            layer: [results[f"two_layers/{layer}/layer_norm_{part}"] for part in ("weight", "bias")]
            for layer in ("first", "second")
        }
        first = routed(votes_for(primary, "first"), norms["first"], None)
        second = routed(votes_for(first[:, 0], "second"), norms["second"], None)
        for _ in range(iters - 1):
            second = routed(votes_for(first[:, 0], "second"), norms["second"], second)
            first = routed(votes_for(primary, "first"), norms["first"], first)
        assert_equals(first[:, 0], results[f"two_layers/concurrent/num_routing_{iters}/first"])
        assert_equals(second[:, 0], results[f"two_layers/concurrent/num_routing_{iters}/second"])
        sequential = inverted_routing(votes_for(first[:, 0], "second"), *norms["second"], iters=iters)
        assert_equals(sequential.poses[:, 0], results[f"two_layers/sequential/num_routing_{iters}/second"])


@pytest.mark.parametrize(
    ("case", "kernel", "stride", "padding"), [("padded", 3, 1, 1), ("stride2", 3, 2, 0), ("class", 4, 1, 0)]
)
def test_self_routing_is_that_of_its_authors(case, kernel, stride, padding):
    results = Results("self_routing")
    names = ["activations_in", "poses_in", "W2", "b2", *(["W1"] if f"{case}/W1" in results else [])]
    inputs = {name: results[f"{case}/{name}"].requires_grad_() for name in names}
    activations, poses = inputs["activations_in"], inputs["poses_in"].unflatten(1, (-1, 16)).movedim(2, 4)
    types = activations.shape[1]
    around = (padding,) * 4
    windows, activations = seen(F.pad(activations, around), kernel, stride)
    poses = windows.of(F.pad(poses, (0, 0, *around)))

    def by_type(weights):
        """From (place, type) to (type, place)."""
        return weights.unflatten(0, (-1, types)).transpose(0, 1).flatten(0, 1)

    logits = torch.einsum("bpnc,njc->bpjn", poses, by_type(inputs["W2"])) + by_type(inputs["b2"]).t()
    parents = logits.shape[2]
    if "W1" in inputs:
        matrices = by_type(inputs["W1"]).unflatten(1, (parents, -1))
        formed = torch.einsum("bpnc,njdc->bpjdn", poses, matrices)
    else:
        formed = logits.new_zeros(*logits.shape[:3], 1, logits.shape[3])
    routed = self_routing(formed, activations, logits)
    assert_equals(routed.activations, of_parents(results[f"{case}/activations_out"]))
    total = (routed.activations * of_parents(results[f"{case}/g_activations"])).sum()
    if f"{case}/poses_out" in results:
        expected, towards = (
            poses_of_parents(results[f"{case}/{name}"].unflatten(1, (parents, -1))) for name in ("poses_out", "g_poses")
        )
        assert_equals(routed.poses, expected)
        total = total + (routed.poses * towards).sum()
    for name, found in zip(names, torch.autograd.grad(total, list(inputs.values()), allow_unused=True), strict=True):
        if f"{case}/grad_{name}" in results:
            assert_equals(found, results[f"{case}/grad_{name}"])
