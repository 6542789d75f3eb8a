"""Claims about the maps of votes: they share out what routing computes over the places of the picture."""

from functools import partial

import pytest
import torch

import capsnet
from capsnet.explorer.votes import spread, vote_maps
from capsnet.networks.capsnet import PrimaryCapsules
from capsnet.networks.efficient_capsnet import EfficientCapsNet
from capsnet.networks.pooled_capsnet import PooledCapsNet
from capsnet.networks.res_capsnet import ResCapsNet
from capsnet.networks.small_cnn import SmallCNN
from capsnet.networks.window import Window, reach, window_of
from capsnet.runs.trained import TrainedModel, TrainingImages
from capsnet.settings.routing import Attention, Dynamic, Uniform


def trained(network, shape=(1, 28, 28)):
    return TrainedModel(network, TrainingImages(shape, tuple("01234"), (0.0, 0.0)), logits=False)


def grid_network(routing, shape=(1, 28, 28)):
    return trained(capsnet.CapsNet(shape, 5, conv_channels=4, primary_capsules=3, routing=routing), shape)


@pytest.fixture
def image():
    return torch.rand(1, 28, 28)


@pytest.mark.parametrize(("routing", "steps"), [(Dynamic(iters=3), 3), (Uniform(), 1), (Attention(), 1)])
def test_pushes_add_up_to_the_length_of_the_sum_that_is_squashed(routing, steps, image):
    model = grid_network(routing)
    found = vote_maps(model, image, 2)
    assert (len(found.steps), found.grid, found.window, found.sees_everything) == (steps, (6, 6), 17, False)
    length = model.output(image[None]).scores[0, 2]
    torch.testing.assert_close(torch.tensor(found.steps[-1].length), length, rtol=1e-4, atol=1e-5)
    total = found.steps[-1].push.sum()
    squashed = 1 - torch.exp(-total) if isinstance(routing, Attention) else total.square() / (1 + total.square())
    torch.testing.assert_close(squashed, length, rtol=1e-4, atol=1e-5)


def test_in_the_first_iteration_every_place_gives_an_equal_share_also_of_colored_oblong_pictures():
    maps = vote_maps(grid_network(Dynamic(iters=3), (3, 24, 40)), torch.rand(3, 24, 40), 2)
    first, *_, last = maps.steps
    assert maps.grid == (4, 12)
    torch.testing.assert_close(first.share_map, torch.full((24, 40), 0.2))
    assert last.share_map.shape == last.push_map.shape == (24, 40)
    assert float(last.share_map.std()) > 0


@pytest.mark.parametrize(
    ("network", "grid", "window"),
    [(EfficientCapsNet, (9, 9), 11), (partial(ResCapsNet, width=4), (7, 7), 53), (PooledCapsNet, (14, 14), 18)],
)
def test_places_of_a_network_whose_capsules_see_everything_push_the_same_sum(image, network, grid, window):
    model = trained(network((1, 28, 28), 5, routing=Attention()))
    found = vote_maps(model, image, 2)
    assert (found.grid, found.window, found.sees_everything) == (grid, window, True)
    assert found.steps[0].share_map is None
    length = model.output(image[None]).scores[0, 2]
    torch.testing.assert_close(1 - torch.exp(-found.steps[0].push.sum()), length, rtol=1e-4, atol=1e-5)


class Own(torch.nn.Module):
    """A network of one's own, with a routing of this project."""

    def __init__(self):
        super().__init__()
        self.routing = Dynamic(iters=2).build(98, 8, 5, 16)

    def forward(self, images, labels=None):
        capsules = self.routing(images.view(-1, 98, 8))
        return capsnet.Output(capsules.norm(dim=-1), capsules)


def test_networks_without_routing_or_places_say_so(image):
    assert vote_maps(trained(SmallCNN((1, 28, 28), 5)), image, 0) is None
    own = Own()
    steps, own.routing = own.routing.steps, torch.nn.Sequential(own.routing)
    own.routing.steps = 2  # of iterations
    assert vote_maps(trained(own), image, 0) is None
    own.routing.steps = steps
    assert len(vote_maps(trained(own), image, 0).steps) == 2
    found = vote_maps(trained(Own()), image, 0)
    assert (found.grid, found.window, found.sees_everything) == (None, None, False)
    assert [step.push_map for step in found.steps] == [None, None]


class Silent(capsnet.MatrixRouting):
    """A routing of matrices that does not say what votes count."""

    def __init__(self, children, types, dim):
        super().__init__()

    def forward(self, votes, iters=None):
        poses = votes.votes.mean(4)
        return capsnet.Routed(poses, poses.mean(3).sigmoid())


def test_a_routing_of_matrices_need_not_say_what_votes_count(image):
    model = trained(capsnet.MatrixCapsNet((1, 28, 28), 5, routing=Silent))
    assert model.predict(image[None]).scores.shape == (1, 5)
    assert vote_maps(model, image, 2) is None


class OwnWithPlaces(torch.nn.Module):
    """A network of one's own that says where its capsules look."""

    def __init__(self):
        super().__init__()
        self.primary = PrimaryCapsules(1, types=3, dim=4)
        self.routing = Dynamic(iters=2).build(300, 4, 5, 16)

    def window(self):
        return window_of([reach(self.primary.conv)])

    def forward(self, images, labels=None):
        capsules = self.routing(self.primary(images))
        return capsnet.Output(capsules.norm(dim=-1), capsules)


def test_a_network_of_ones_own_may_say_where_its_capsules_look(image):
    found = vote_maps(model := trained(OwnWithPlaces()), image, 3)
    assert (found.grid, found.window, found.sees_everything) == ((10, 10), 9, False)
    total, length = found.steps[-1].push.sum(), model.output(image[None]).scores[0, 3]
    torch.testing.assert_close(total.square() / (1 + total.square()), length, rtol=1e-4, atol=1e-5)


def test_a_window_is_where_a_change_of_the_image_has_an_effect():
    layers = [torch.nn.Conv2d(1, 2, 5), torch.nn.Conv2d(2, 2, 3, 2), torch.nn.Conv2d(2, 1, 3, 2)]
    window = window_of(map(reach, layers))
    image = torch.rand(1, 1, 60, 60, requires_grad=True)
    torch.nn.Sequential(*layers)(image)[0, 0, 4, 2].backward()
    rows, columns = (torch.nonzero(image.grad[0, 0].abs().sum(axis))[:, 0] for axis in (1, 0))
    half = (window.side - 1) / 2
    assert (int(rows[0]), int(rows[-1])) == (
        window.start + 4 * window.pitch - half,
        window.start + 4 * window.pitch + half,
    )
    assert int(columns[0]) == window.start + 2 * window.pitch - half


def test_the_window_of_a_residual_network_is_that_of_its_longest_path():
    network = ResCapsNet((1, 80, 80), 5, width=4, blocks=1).eval()
    window = network.window()
    image = torch.rand(1, 1, 80, 80, requires_grad=True)
    network.stem(image)[0, :, 10, 10].sum().backward()
    rows = torch.nonzero(image.grad[0, 0].abs().sum(1))[:, 0]
    middle, half = window.start + 10 * window.pitch, (window.side - 1) / 2
    assert (int(rows[0]), int(rows[-1])) == (middle - half, middle + half)


def test_windows_of_a_picture_that_is_shrunk_lie_in_the_picture_as_it_is():
    size = 240
    network = capsnet.CapsNet((1, size, size), 5, 4, None, 3, routing=Dynamic(iters=1))
    model = trained(network, (1, size, size))
    assert model.network.shrunk_to[0] < 188
    maps = vote_maps(model, torch.rand(1, size, size), 2)
    window = model.network.window()
    middles = [window.start + window.pitch * place for place in range(maps.grid[0])]
    assert middles[0] + middles[-1] == pytest.approx(size - 1, abs=2 * window.pitch)
    assert maps.window == window.side


def test_spread_values_stay_where_they_are_and_between_the_least_and_the_largest():
    values = torch.zeros(6, 6)
    values[1, 4] = 1
    spread_values = spread(values, torch.ones(6, 6), Window(17, 8.0, 2), (28, 28))
    row, column = divmod(int(spread_values.argmax()), 28)
    assert max(abs(row - 10), abs(column - 16)) <= 2  # the middle of what this place sees
    assert 0 <= float(spread_values.amin()) <= float(spread_values.amax()) <= 1
    constant = spread(torch.full((6, 6), 0.3), torch.rand(6, 6) + 0.1, Window(17, 8.0, 2), (28, 28))
    torch.testing.assert_close(constant, torch.full((28, 28), 0.3))
