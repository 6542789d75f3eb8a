"""Claims about the routings of capsules with a pose and an activation that need no file: what must hold exactly."""

import math

import pytest
import torch
from torch import nn

from capsnet.networks.conv_capsules import Capsules, ConvCapsules
from capsnet.networks.matrix_capsnet import MatrixCapsNet
from capsnet.routing.attention import attention_routing
from capsnet.routing.batch_norm import BatchNorm
from capsnet.routing.em import em_routing, inverse_temperature
from capsnet.routing.inverted import inverted_attention, inverted_routing
from capsnet.routing.matrices import LayerVotes
from capsnet.routing.self_routing import self_routing
from capsnet.routing.vb import digamma, vb_routing
from capsnet.routing.windows import Windows, log_total
from capsnet.settings.routing import OPTIONS

MATRIX_ROUTINGS = [name for name, option in OPTIONS.items() if hasattr(option, "build_matrices")]
ITERATIVE = {"em": em_routing, "vb": vb_routing}
TYPES, DIM = 3, 4
WINDOWS = Windows((4, 5), (2, 3), stride=1)  # 3 x 3 positions of parents, 6 children of each type


def problem(child_types=2, batch=2, windows=WINDOWS, seed=0):
    """Votes [b, p, j, d, n], activations of the children as a map, and both betas."""
    generator = torch.Generator().manual_seed(seed)
    children = child_types * windows.places
    votes = torch.randn(batch, windows.positions, TYPES, DIM, children, generator=generator, dtype=torch.float64)
    activations = torch.rand(batch, child_types, *windows.size, generator=generator, dtype=torch.float64)
    beta_u, beta_a = torch.randn(2, TYPES, generator=generator, dtype=torch.float64)
    return votes, activations, beta_u, 100 * beta_a


def sums_over_parents(shares, windows):
    """Σ_j over all parents of each child, [b, types, rows, columns], by hand."""
    total = torch.zeros(len(shares), shares.shape[3] // windows.places, windows.size[0] * windows.size[1]).double()
    for position in range(windows.positions):
        for place in range(windows.places):
            child = windows.child[position, place]
            for kind in range(total.shape[1]):
                total[:, kind, child] += shares[:, position, :, kind * windows.places + place].sum(1)
    return total


def test_words_that_are_none_of_the_options_and_no_iterations_are_refused():
    votes, activations, *betas = problem()
    seen = WINDOWS.of(activations)
    for wrong in ({"start": "type"}, {"competition": "all"}, {"iters": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            em_routing(votes, seen, *betas, WINDOWS, **wrong)
    with pytest.raises(ValueError, match="iters"):
        vb_routing(votes, seen, *betas, WINDOWS, 0)
    with pytest.raises(ValueError, match="iters"):
        inverted_routing(votes, torch.ones(DIM), torch.zeros(DIM), WINDOWS, 0)
    u, weight, norm = torch.rand(2, 6, 4), torch.rand(3, 6, 4, 5), (torch.ones(5), torch.zeros(5))
    with pytest.raises(ValueError, match="iters"):
        inverted_attention(u, weight, *norm, 0)
    with pytest.raises(ValueError, match="scale='sqrt'"):
        attention_routing(u, weight, torch.zeros(3, 6), "sqrt")


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_windows_see_what_unfold_sees(stride):
    windows, image = Windows((7, 8), (3, 2), stride), torch.rand(2, 4, 7, 8)
    expected = nn.functional.unfold(image, (3, 2), stride=stride).transpose(1, 2)
    assert torch.equal(windows.of(image), expected)
    assert windows.grid == ((7 - 3) // stride + 1, (8 - 2) // stride + 1)


@pytest.mark.parametrize("stride", [1, 2])
def test_shares_that_all_parents_compete_for_sum_to_one_for_every_child_that_has_a_parent(stride):
    windows = Windows((6, 7), 3, stride)
    logits = 30 * torch.randn(2, windows.positions, TYPES, 2 * 9, dtype=torch.float64)
    totals = sums_over_parents((logits - log_total(logits, windows)).exp(), windows)
    seen = torch.zeros(42, dtype=torch.bool)
    seen[windows.child] = True
    torch.testing.assert_close(totals[:, :, seen], torch.ones_like(totals[:, :, seen]))
    of_types = (logits - log_total(logits, windows, "types")).exp().sum(2)
    torch.testing.assert_close(of_types, torch.ones_like(of_types))
    of_positions = sums_over_parents((logits - log_total(logits, windows, "positions")).exp(), windows)
    torch.testing.assert_close(of_positions[:, :, seen], torch.full_like(of_positions[:, :, seen], TYPES))


@pytest.mark.parametrize("name", ITERATIVE)
class TestClusters:
    """EM and variational Bayes."""

    def test_responsibilities_of_a_child_sum_to_one_over_all_parents_and_positions(self, name):
        votes, activations, *betas = problem()
        for iters in (2, 3, 5):
            shares = ITERATIVE[name](votes, WINDOWS.of(activations), *betas, WINDOWS, iters).coupling
            totals = sums_over_parents(shares, WINDOWS)
            torch.testing.assert_close(totals, torch.ones_like(totals))

    def test_a_child_with_activation_0_changes_nothing(self, name):
        votes, activations, *betas = problem()
        activations[:, 1, 2, 2] = 0
        silent = WINDOWS.of((activations == 0).double()).bool()[:, :, None, None]
        others = torch.where(silent, 1e3 * torch.randn_like(votes), votes)
        found, expected = (ITERATIVE[name](v, WINDOWS.of(activations), *betas, WINDOWS) for v in (others, votes))
        torch.testing.assert_close(found.poses, expected.poses)
        torch.testing.assert_close(found.activations, expected.activations)

    def test_the_order_of_children_does_not_matter_and_parents_come_in_the_order_of_their_votes(self, name):
        votes, activations, beta_u, beta_a = problem()
        route, seen, order = ITERATIVE[name], WINDOWS.of(activations), torch.tensor([2, 0, 1])
        expected = route(votes, seen, beta_u, beta_a, WINDOWS)
        parents = route(votes[:, :, order], seen, beta_u[order], beta_a[order], WINDOWS)
        torch.testing.assert_close(parents.poses, expected.poses[:, :, order])
        torch.testing.assert_close(parents.activations, expected.activations[:, :, order])
        types_swapped = torch.arange(12).view(2, 6).flip(0).flatten()
        children = route(votes[..., types_swapped], seen[..., types_swapped], beta_u, beta_a, WINDOWS)
        torch.testing.assert_close(children.poses, expected.poses)

    def test_signed_permutations_of_poses_turn_the_parents_poses_and_leave_their_activations(self, name):
        votes, activations, *betas = problem()
        order, signs = torch.tensor([3, 0, 2, 1]), torch.tensor([1.0, -1, -1, 1]).double()
        expected = ITERATIVE[name](votes, WINDOWS.of(activations), *betas, WINDOWS)
        turned = ITERATIVE[name](votes[:, :, :, order] * signs[:, None], WINDOWS.of(activations), *betas, WINDOWS)
        torch.testing.assert_close(turned.poses, expected.poses[..., order] * signs)
        torch.testing.assert_close(turned.activations, expected.activations)
        torch.testing.assert_close(turned.coupling, expected.coupling)

    def test_gradients_are_those_of_finite_differences(self, name):
        windows = Windows(3, 2)
        votes, activations, beta_u, beta_a = problem(1, 1, windows)
        inputs = [one.requires_grad_() for one in (votes, activations, beta_u, beta_a)]

        def route(votes, activations, beta_u, beta_a):
            return ITERATIVE[name](votes, windows.of(activations), beta_u, beta_a, windows)[:2]

        assert torch.autograd.gradcheck(route, inputs)

    def test_one_child_and_identical_votes_have_finite_gradients(self, name):
        for votes in (torch.randn(1, 1, TYPES, DIM, 1), torch.randn(1, 1, TYPES, DIM, 1).expand(-1, -1, -1, -1, 7)):
            inputs = [votes.clone().requires_grad_(), torch.rand(1, 1, votes.shape[4]).requires_grad_()]
            found = ITERATIVE[name](*inputs, torch.zeros(TYPES), torch.zeros(TYPES), iters=5)
            for gradient in torch.autograd.grad(found.poses.sum() + found.activations.sum(), inputs):
                assert torch.isfinite(gradient).all()


class TestEMRouting:
    def test_one_iteration_gives_the_mean_of_the_votes_weighted_by_activations(self):
        votes, activations, *betas = problem()
        seen = WINDOWS.of(activations)
        counts = WINDOWS.parents.repeat(1, 2)
        weights = (seen / counts)[:, :, None, None]
        expected = (votes * weights).sum(4) / weights.sum(4)
        torch.testing.assert_close(em_routing(votes, seen, *betas, WINDOWS, 1).poses, expected)

    def test_scaling_all_activations_leaves_the_clusters_and_multiplies_the_costs(self):
        votes, activations, beta_u, _ = problem()
        found = [
            em_routing(votes, scale * WINDOWS.of(activations), beta_u, 0 * beta_u, WINDOWS, 1) for scale in (1, 0.25)
        ]
        torch.testing.assert_close(found[0].poses, found[1].poses)
        torch.testing.assert_close(found[0].activations.logit() / 4, found[1].activations.logit())

    def test_a_parent_whose_votes_agree_is_more_active_and_gets_them(self):
        votes = 3 * torch.randn(1, 1, 2, 16, 20, dtype=torch.float64)
        votes[:, :, 0, :, :14] = 0.05 * votes[:, :, 0, :, :14] + 1  # 70 % agree about the first parent
        zeros = torch.zeros(2, dtype=torch.float64)
        found = em_routing(votes, torch.ones(1, 1, 20, dtype=torch.float64), zeros, zeros, iters=3, variance_floor=5e-4)
        assert float(found.coupling[0, 0, 0, :14].min()) > 0.99
        assert found.activations[0, 0, 0] > found.activations[0, 0, 1]
        torch.testing.assert_close(found.poses[0, 0, 0], votes[0, 0, 0, :, :14].mean(1), atol=0.1, rtol=0)

    def test_the_temperature_is_that_which_the_authors_gave(self):
        assert [inverse_temperature(step) for step in (1, 2)] == pytest.approx([0.01 * 0.05, 0.01 * 0.0975])

    def test_the_bias_of_a_layer_is_the_log_odds_that_it_gives_a_capsule(self):
        routing = OPTIONS["em"](iters=1, batch_norm=False).build_matrices(6, TYPES, DIM).double()
        votes, activations, *_ = problem()
        given = LayerVotes(votes, WINDOWS.of(activations), votes, WINDOWS)
        before = routing(given).activations.logit()
        with torch.no_grad():
            routing.bias += 1.5
        torch.testing.assert_close(routing(given).activations.logit(), before + 1.5, rtol=1e-5, atol=1e-5)

    def test_a_network_starts_with_half_of_the_capsules_of_each_layer_active(self):
        network = MatrixCapsNet(routing=OPTIONS["em"]())
        for capsules in network.all_layers((torch.rand(8, 1, 28, 28) > 0.8).float()):
            assert 0.25 < float(capsules.activations.detach().mean()) < 0.75


class TestVariationalBayes:
    def test_a_parent_without_votes_is_its_prior(self):
        votes, activations, *betas = problem()
        found = vb_routing(votes, 0 * WINDOWS.of(activations), *betas, WINDOWS)
        assert not found.poses.any()
        assert torch.isfinite(found.activations).all()

    def test_one_update_is_that_of_the_gaussian_mixture_of_scikit_learn(self):
        from sklearn.mixture import BayesianGaussianMixture

        votes = torch.randn(1, 1, 1, DIM, 30, dtype=torch.float64)
        mixture = BayesianGaussianMixture(
            n_components=1, covariance_type="diag", mean_precision_prior=1, mean_prior=[0] * DIM, max_iter=1,
            degrees_of_freedom_prior=DIM + 1, covariance_prior=[1] * DIM, init_params="random", reg_covar=0,
        )  # fmt: skip
        with pytest.warns(match="converge"):
            mixture.fit(votes[0, 0, 0].T.numpy())
        zeros = torch.zeros(1, dtype=torch.float64)
        found = vb_routing(votes, torch.ones(1, 1, 30, dtype=torch.float64), zeros, zeros, iters=1)
        torch.testing.assert_close(found.poses[0, 0], torch.from_numpy(mixture.means_))

    def test_what_is_exported_has_the_same_digamma(self, monkeypatch):
        x = torch.linspace(1, 500, 999, dtype=torch.float64)
        expected = torch.digamma(x)
        monkeypatch.setattr("torch.compiler.is_exporting", lambda: True)
        torch.testing.assert_close(digamma(x), expected, rtol=1e-8, atol=1e-8)

    def test_a_single_number_of_a_type_is_normalized_by_the_running_statistics(self):
        norm, one = BatchNorm(TYPES), torch.randn(1, 1, TYPES, 1)
        torch.testing.assert_close(norm(one), one, rtol=1e-4, atol=1e-6)


def test_self_routing_starts_uniform_and_its_activations_sum_to_one_over_the_types():
    votes, activations, *_ = problem()
    seen = WINDOWS.of(activations)
    uniform = self_routing(votes, seen, torch.zeros(2, 9, TYPES, 12).double())
    torch.testing.assert_close(uniform.activations, torch.full_like(uniform.activations, 1 / TYPES))
    other = self_routing(votes, seen, torch.randn(2, 9, TYPES, 12).double())
    torch.testing.assert_close(other.activations.sum(2), torch.ones(2, 9).double())


def test_the_first_pass_of_inverted_attention_is_the_normalized_mean_and_parents_come_in_their_order():
    votes, *_ = problem()
    norm = (torch.ones(DIM).double(), torch.zeros(DIM).double())
    first = inverted_routing(votes, *norm, WINDOWS, 1)
    torch.testing.assert_close(first.poses, nn.functional.layer_norm(votes.sum(4) / TYPES, (DIM,)))
    order = torch.tensor([1, 2, 0])
    last, turned = inverted_routing(votes, *norm, WINDOWS, 3), inverted_routing(votes[:, :, order], *norm, WINDOWS, 3)
    torch.testing.assert_close(turned.poses, last.poses[:, :, order])
    torch.testing.assert_close(last.coupling.sum(2), torch.ones(2, 9, 12).double())


@pytest.mark.parametrize("name", MATRIX_ROUTINGS)
class TestConvCapsules:
    @staticmethod
    def layer_and_children(name, batch=5, **settings):
        layer = ConvCapsules(2, 3, (6, 7), 3, 2, routing=OPTIONS[name](), **settings).double()
        for parameter in layer.routing.parameters():
            nn.init.normal_(parameter)
        poses = torch.randn(batch, 2, 6, 7, 4, 4, dtype=torch.float64)
        return layer, Capsules(poses, torch.rand(batch, 2, 6, 7, dtype=torch.float64))

    def test_any_number_of_images_at_once_gives_the_same_in_value_and_gradient(self, name, monkeypatch):
        layer, children = self.layer_and_children(name)
        found = []
        for size in (1, 10**9):
            monkeypatch.setattr("capsnet.networks.conv_capsules.CPU_CHUNK_BYTES", size)
            leaves = [one.clone().requires_grad_() for one in children]
            layer.zero_grad()
            capsules = layer(Capsules(*leaves))
            (capsules.poses.square().sum() + capsules.activations.square().sum()).backward()
            parameters = [parameter.grad for parameter in layer.parameters() if parameter.grad is not None]
            found.append([*capsules, leaves[0].grad, *parameters])
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other)

    def test_a_vote_is_the_childs_pose_times_the_matrix_of_its_place_and_both_types(self, name):
        layer, children = self.layer_and_children(name)
        votes = layer.layer_votes(children).votes
        child, place = 1, (2, 0)  # of the window at row 1, column 2 of the parents, so of the map at row 4, column 4
        expected = children.poses[3, child, 4, 4] @ layer.weight[2, child, 2, 0]
        number = child * 9 + place[0] * 3 + place[1]
        torch.testing.assert_close(votes[3, layer.grid[1] + 2, 2, :, number], expected.flatten())

    def test_padding_adds_children_that_have_no_say(self, name):
        layer, children = self.layer_and_children(name, padding=1)
        assert layer(children).activations.shape == (5, 3, 3, 4)
        votes = layer.layer_votes(children)
        assert not votes.activations[:, 0].view(5, 2, 3, 3)[:, :, 0].any()


def test_class_capsules_get_the_place_of_a_child_in_the_first_two_numbers_of_the_right_column():
    layer = ConvCapsules(2, 3, (4, 5), (4, 5), routing=OPTIONS["em"](), shared=True, coordinates=True)
    children = Capsules(torch.zeros(1, 2, 4, 5, 4, 4), torch.ones(1, 2, 4, 5))
    votes = layer.layer_votes(children).votes[0, 0, 1].view(4, 4, 2, 4, 5)
    torch.testing.assert_close(votes[0, 3, 1, :, 2], torch.arange(1, 5) / 40)
    torch.testing.assert_close(votes[1, 3, 0, 3], torch.arange(1, 6) / 50)
    assert votes.count_nonzero() == 2 * 2 * 20
    assert math.prod(layer.weight.shape) == 3 * 2 * 16
