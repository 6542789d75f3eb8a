"""What every option of every group promises, whoever adds it. A new option is tested here without a line of code."""

import dataclasses
from functools import cache

import hydra
import pytest
import torch
import yaml
from conftest import (
    REPO,
    make_cifar10,
    make_folder_of_digits,
    make_k49,
    make_kmnist,
    make_smallnorb,
    make_svhn,
    wanted,
)
from hydra.core.global_hydra import GlobalHydra
from torchvision.datasets import KMNIST, MNIST, FashionMNIST

from capsnet import Output, Source
from capsnet.data.batches import TrainingBatches
from capsnet.data.source import LabelledImages, read_part
from capsnet.errors import ConfigError
from capsnet.explorer.looking import abilities, draw, look
from capsnet.explorer.votes import vote_maps
from capsnet.runs.trained import TrainedModel, TrainingImages
from capsnet.settings.composing import prepare_hydra
from capsnet.settings.config import ALL_OPTIONS, COMBINABLE, OPTIONS, SHARED, fields_of, leaves, option_of
from capsnet.settings.parse import config_from_dict, config_from_omegaconf
from capsnet.settings.setting import setting_of
from capsnet.tasks.classify import Classify

PARAMETERS = {
    "capsnet": 8_215_568,
    "efficient_capsnet": 1_573_168,
    "res_capsnet": 2_132_592,
    "pooled_capsnet": 1_125_233,
    "matrix_capsnet": 68_488,
    "cnn": 35_445_522,
    "small_capsnet": 2_117_072,
    "small_cnn": 161_578,
    "capsule_loss_cnn": 1_597_072,
    "resnet18": 11_172_810,
}
"""As the documentation has them, at 28x28x1 pixels and 10 classes."""

SHAPES = [(1, 28, 28), (3, 28, 28), (1, 29, 35)]

MADE = {"k49": make_k49, "cifar10": make_cifar10, "svhn": make_svhn, "smallnorb": make_smallnorb}
DOWNLOADED = {"kmnist": KMNIST, "mnist": MNIST, "fashion_mnist": FashionMNIST}


def option(group, name, **settings):
    """An option as a config has it, with its defaults but for some settings."""
    return option_of(group, getattr(config_from_dict({group: {"name": name, **settings}}), group))


@cache
def config_with(*overrides):
    """The config that the command line composes."""
    GlobalHydra.instance().clear()
    prepare_hydra([])
    with hydra.initialize_config_dir(str(REPO / "configs"), version_base="1.3"):
        return config_from_omegaconf(hydra.compose("config", overrides=list(overrides)))


def network(name, image_shape=(1, 28, 28), num_classes=10):
    """A network with the routing that suits it."""
    config = config_with(f"model={name}")
    return config.model.build(image_shape, num_classes, config.routing)


def one_hot(labels, classes=3):
    """Probabilities that say the same as the classes."""
    return torch.nn.functional.one_hot(labels, classes).float()


@pytest.fixture(autouse=True)
def _fixed_start():
    torch.manual_seed(0)


PRESETS = [
    f"{group}={path.stem}"
    for group in ("augment", "experiment", "sweep", "trainer")
    for path in sorted((REPO / "configs" / group).glob("*.yaml"))
]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_chooses_settings_that_exist(preset):
    config = config_with(preset)
    group, _, name = preset.partition("=")
    if group == "sweep":
        hydra_settings = yaml.safe_load((REPO / "configs/sweep" / f"{name}.yaml").read_text(encoding="utf-8"))["hydra"]
        assert hydra_settings["sweeper"]["params"].keys() <= {leaf.key for leaf in leaves(config)} | OPTIONS.keys()


@pytest.mark.parametrize("group", ALL_OPTIONS)
def test_every_setting_has_a_meaning_and_a_default_in_its_range(group):
    for name, option_class in ALL_OPTIONS[group].items():
        for owner in (option_class, *([SHARED[group]] if group in SHARED else [])):
            for field in dataclasses.fields(owner):
                if field.name != "source":
                    assert setting_of(field).help, f"{group}={name}: {field.name}"
                    setting_of(field).check_value(field.name, field.default)


@pytest.mark.parametrize(("group", "name"), [(group, name) for group, options in OPTIONS.items() for name in options])
def test_the_command_line_and_python_train_the_same(group, name):
    needed = [field.name for _, field in fields_of(group, name) if field.default is dataclasses.MISSING]
    given = dict.fromkeys(needed, "x")
    composed = outcome(config_with, f"{group}={name}", *(f"{group}.{key}=x" for key in needed))
    assert composed == outcome(config_from_dict, {group: {"name": name, **given}})


def outcome(make, *arguments):
    """What would be trained, or why it is refused."""
    try:
        return {leaf.key: leaf.value for leaf in leaves(make(*arguments)) if leaf.setting.trained}
    except ConfigError as error:
        return str(error)


def test_numbers_of_parameters_are_documented_of_networks_that_there_are():
    assert set(PARAMETERS) <= set(OPTIONS["model"])


@pytest.mark.parametrize("name", OPTIONS["model"])
class TestNetworks:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_gives_a_score_per_class_and_what_output_describes(self, name, shape):
        output = network(name, shape, 7)(torch.rand(3, *shape), torch.tensor([0, 3, 6]))
        assert isinstance(output, Output)
        assert output.scores.shape == (3, 7)
        assert torch.isfinite(output.scores).all()
        if output.capsules is not None:
            assert output.capsules.shape[:2] == (3, 7)
            lengths = output.capsules.norm(dim=-1)
            torch.testing.assert_close(lengths if output.activations is None else output.activations, output.scores)
            assert ((output.scores >= 0) & (output.scores <= 1)).all()
        if output.reconstruction is not None:
            assert output.reconstruction.shape == (3, *shape)
            assert ((output.reconstruction >= 0) & (output.reconstruction <= 1)).all()

    def test_takes_class_probabilities_as_labels_and_decodes_capsules_weighted_by_them(self, name):
        built, images, labels = network(name, num_classes=4).eval(), torch.rand(3, 1, 28, 28), torch.tensor([0, 3, 1])
        of_classes, of_probabilities = built(images, labels), built(images, one_hot(labels, 4))
        torch.testing.assert_close(of_probabilities, of_classes)
        if of_classes.reconstruction is None:
            pytest.skip("no decoder")
        probabilities = torch.rand(3, 4).softmax(1)
        mixed = built(images, probabilities)
        torch.testing.assert_close(mixed.reconstruction, built.decode(mixed.capsules, probabilities))
        all_capsules = mixed.capsules * probabilities.unsqueeze(-1)
        torch.testing.assert_close(built.decode(all_capsules, torch.ones(3, 4)), mixed.reconstruction)

    def test_has_the_documented_number_of_parameters(self, name):
        if name not in PARAMETERS:
            pytest.skip("no number is documented")
        assert sum(parameter.numel() for parameter in network(name).parameters()) == PARAMETERS[name]

    def test_every_parameter_gets_a_finite_gradient_also_on_black_images(self, name):
        built, labels = network(name), torch.tensor([1, 2])
        loss = config_with(f"model={name}").loss.build()
        for images in (torch.rand(2, 1, 28, 28), torch.zeros(2, 1, 28, 28)):
            built.zero_grad()
            loss(built(images, labels), wanted(labels, images))["loss"].backward()
            for key, parameter in built.named_parameters():
                assert parameter.grad is not None, key
                assert torch.isfinite(parameter.grad).all(), key

    def test_an_image_s_output_does_not_depend_on_its_neighbours_in_evaluation(self, name):
        built, images = network(name).eval(), torch.rand(4, 1, 28, 28)
        with torch.no_grad():
            torch.testing.assert_close(built(images[1:2]).scores, built(images).scores[1:2], rtol=1e-4, atol=1e-5)

    def test_saved_weights_give_the_same_output_in_another_copy(self, name, tmp_path):
        first, second, images = network(name).eval(), network(name).eval(), torch.rand(2, 1, 28, 28)
        torch.save(first.state_dict(), tmp_path / "weights")
        second.load_state_dict(torch.load(tmp_path / "weights", weights_only=True))
        assert torch.equal(first(images).scores, second(images).scores)

    def test_a_decoder_can_be_asked_for_any_capsule(self, name):
        built = network(name).eval()
        output = built(torch.rand(2, 1, 28, 28), torch.tensor([4, 9]))
        if output.capsules is None or output.reconstruction is None:
            pytest.skip("no capsules, or no decoder")
        torch.testing.assert_close(built.decode(output.capsules, torch.tensor([4, 9])), output.reconstruction)


@pytest.mark.parametrize("name", OPTIONS["model"])
def test_a_network_can_be_explored(name):
    shape = (3, 29, 35)
    model = TrainedModel(network(name, shape, 4), TrainingImages(shape, tuple("abcd"), (0.0, 0.0)), logits=False)
    pixels = torch.randint(256, shape, dtype=torch.uint8).numpy()
    found, can = look(model, pixels), abilities(model)
    assert (found.capsules is None) == (can.dimensions is None)
    assert (found.drawings is None) != can.decoder
    if can.decoder:
        assert draw(model, found.capsules[2][None], 2).shape == (1, *shape)
    votes = vote_maps(model, found.seen, 2)
    assert (votes is None) != can.routing
    if votes:
        assert votes.steps[-1].length == pytest.approx(float(found.scores[2]), rel=1e-3, abs=1e-5)
        assert votes.steps[-1].push_map.shape == shape[1:]


def routings(method):
    """The names of routings that have a method: of vectors, or of matrices."""
    return [name for name, option in OPTIONS["routing"].items() if hasattr(option, method) and name != "none"]


@pytest.mark.parametrize("name", routings("build"))
class TestRoutings:
    def test_routes_any_number_of_capsules_to_capsules_shorter_than_one(self, name):
        for in_caps, in_dim, out_caps, out_dim in ((1, 1, 1, 1), (7, 3, 5, 4), (40, 8, 3, 16)):
            routing = option("routing", name).build(in_caps, in_dim, out_caps, out_dim)
            v = routing(torch.randn(2, in_caps, in_dim))
            assert v.shape == (2, out_caps, out_dim)
            assert (v.norm(dim=-1) < 1).all()

    def test_owns_its_weights_and_passes_finite_gradients_also_at_zero(self, name):
        routing = option("routing", name).build(6, 4, 3, 5)
        for u in (torch.randn(2, 6, 4), torch.zeros(2, 6, 4)):
            routing.zero_grad()
            u.requires_grad_()
            routing(u).square().sum().backward()
            assert torch.isfinite(u.grad).all()
            parameters = list(routing.parameters())
            assert parameters
            assert all(torch.isfinite(parameter.grad).all() for parameter in parameters)

    def test_works_under_bf16_autocast_and_gives_float32(self, name):
        routing, u = option("routing", name).build(6, 4, 3, 5), torch.rand(2, 6, 4)
        plain = routing(u)
        with torch.autocast("cpu", torch.bfloat16):
            v = routing(u)
        assert v.dtype == torch.float32
        torch.testing.assert_close(v, plain, rtol=5e-2, atol=1e-2)  # bf16 has 8 bits of precision

    def test_routes_each_image_by_itself(self, name):
        routing, u = option("routing", name).build(6, 4, 3, 5), torch.rand(3, 6, 4)
        torch.testing.assert_close(routing(u[1:2]), routing(u)[1:2])


@pytest.mark.parametrize("name", routings("build_matrices"))
class TestRoutingsOfMatrices:
    def network(self, name, num_classes=3, **settings):
        small = {"conv_channels": 4, "primary_capsules": 2, "first_capsules": 3, "second_capsules": 2}
        config = config_from_dict({"model": {"name": "matrix_capsnet", **small, **settings}, "routing": {"name": name}})
        return config.model.build((1, 20, 23), num_classes, config.routing)

    @pytest.mark.parametrize("images", [torch.rand(3, 1, 20, 23), torch.zeros(1, 1, 20, 23), torch.ones(2, 1, 20, 23)])
    def test_gives_activations_in_0_to_1_and_every_parameter_a_finite_gradient(self, name, images):
        for classes in (2, 60):
            built = self.network(name, classes)
            output = built(images)
            assert output.capsules.shape == (len(images), classes, 16)
            assert ((output.activations >= 0) & (output.activations <= 1)).all()
            (output.activations.square().sum() + output.capsules.square().sum()).backward()
            for key, parameter in built.named_parameters():
                assert parameter.grad is not None, key
                assert torch.isfinite(parameter.grad).all(), key

    def test_works_under_bf16_autocast_and_gives_float32(self, name):
        built, images = self.network(name).eval(), torch.rand(2, 1, 20, 23)
        plain = built(images)
        with torch.autocast("cpu", torch.bfloat16):
            output = built(images)
        assert output.activations.dtype == output.capsules.dtype == torch.float32
        torch.testing.assert_close(output.activations, plain.activations, rtol=5e-2, atol=2e-2)

    def test_computes_in_float64_if_the_network_does(self, name):
        built, images = self.network(name).double().eval(), torch.rand(2, 1, 20, 23)
        output = built(images.double())
        assert output.activations.dtype == torch.float64
        torch.testing.assert_close(built.float()(images).activations.double(), output.activations, rtol=1e-3, atol=1e-4)

    def test_routes_each_image_by_itself_in_evaluation(self, name):
        built, images = self.network(name).eval(), torch.rand(3, 1, 20, 23)
        torch.testing.assert_close(built(images[1:2]).activations, built(images).activations[1:2])

    def test_shows_its_iterations_of_which_the_last_gives_the_scores(self, name):
        built = self.network(name).eval()
        model = TrainedModel(built, TrainingImages((1, 20, 23), ("a", "b", "c"), (0.0, 0.0)), logits=False)
        image = torch.rand(1, 20, 23)
        found = vote_maps(model, image, 1)
        assert len(found.steps) == built.routing.iters
        assert found.steps[-1].length == pytest.approx(float(model.output(image[None]).scores[0, 1]), rel=1e-4)
        assert all(float(step.push.sum()) == pytest.approx(1, rel=1e-4) for step in found.steps)

    def test_can_draw_the_pose_of_a_class(self, name):
        built = self.network(name, decoder="dense").eval()
        output = built(torch.rand(2, 1, 20, 23), torch.tensor([0, 2]))
        torch.testing.assert_close(built.decode(output.capsules, torch.tensor([0, 2])), output.reconstruction)


@pytest.mark.parametrize("name", OPTIONS["data"])
def test_a_dataset_gives_labelled_images_of_all_its_classes(name, tmp_path):
    settings = {}
    if name in DOWNLOADED:
        make_kmnist(tmp_path)
        (tmp_path / "KMNIST").rename(tmp_path / DOWNLOADED[name].__name__)
        settings = {"root": str(tmp_path), "download": False}
    if name == "folder":
        make_folder_of_digits(tmp_path, {"train": 4, "test": 2})
        settings = {"root": str(tmp_path)}
    if name == "table":
        make_folder_of_digits(tmp_path, {"": 9})
        rows = "".join(f"{path.relative_to(tmp_path)},{path.parent.name}\n" for path in tmp_path.rglob("*.png"))
        (tmp_path / "labels.csv").write_text(f"file,label\n{rows}")
        settings = {"labels": str(tmp_path / "labels.csv")}
    if name == "idx":
        make_kmnist(tmp_path)
        settings = {"root": str(tmp_path / "KMNIST" / "raw")}
    if name in MADE:
        MADE[name](tmp_path)
        settings = {"root": str(tmp_path), "download": False}
    source = option("data", name, **settings).build()
    assert isinstance(source, Source)
    source.prepare()
    for part in ("train", "test"):
        images, labels = read_part(source, part, name)
        assert images.ndim == 4
        assert sorted(labels.unique().tolist()) == list(range(len(source.class_names)))
    assert len(set(source.class_names)) == len(source.class_names)


AUGMENTATIONS = sorted({path.stem for path in (REPO / "configs/augment").glob("*.yaml")} | set(COMBINABLE["augment"]))


@pytest.mark.parametrize("name", AUGMENTATIONS)
class TestAugmentations:
    def epoch(self, name, epoch=0, batch_size=8):
        """The images of an epoch, in the order of the dataset."""
        images = torch.randint(256, (20, 3, 28, 30), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        augmentation = config_with(f"augment={name}").augment.build()
        settings = {"augmentation": augmentation, "composition": Classify(), "classes": 20, "seed": 0}
        settings["epoch"] = lambda: epoch
        batches = list(TrainingBatches(LabelledImages(images, torch.arange(20)), batch_size, **settings))
        labels = torch.cat([targets.labels for _, targets in batches])
        return torch.cat([images for images, _ in batches])[labels.argsort()]

    def test_gives_images_of_the_same_form(self, name):
        images = self.epoch(name)
        assert images.shape == (20, 3, 28, 30)
        assert images.dtype == torch.float32
        assert -1e-6 <= float(images.min()) <= float(images.max()) <= 1 + 1e-6  # interpolation rounds

    def test_draws_the_same_again_for_the_same_epoch_and_otherwise_for_another(self, name):
        assert torch.equal(self.epoch(name), self.epoch(name))
        assert torch.equal(self.epoch(name), self.epoch(name, epoch=1)) == (name == "none")


@pytest.mark.parametrize("name", OPTIONS["loss"])
class TestLosses:
    def test_names_finite_scalars_and_the_loss_with_a_gradient(self, name):
        loss, images, labels = option("loss", name).build(), torch.rand(4, 1, 6, 6), torch.tensor([0, 1, 2, 2])
        scores = torch.rand(4, 3, requires_grad=True)
        for reconstruction in (None, torch.rand(4, 1, 6, 6)):
            scalars = loss(Output(scores, None, reconstruction), wanted(labels, images))
            assert "loss" in scalars
            assert all(value.ndim == 0 and torch.isfinite(value) for value in scalars.values())
            (gradient,) = torch.autograd.grad(scalars["loss"], scores)
            assert torch.isfinite(gradient).all()
            assert gradient.abs().sum() > 0

    def test_probabilities_of_zero_and_one_cost_what_the_classes_cost_and_others_cost_the_mean(self, name):
        loss, images, labels = option("loss", name).build(), torch.rand(4, 1, 6, 6), torch.tensor([0, 1, 2, 2])
        output, other = Output(torch.rand(4, 3), None, torch.rand(4, 1, 6, 6)), labels.roll(1)
        cost = loss(output, wanted(labels, images))["loss"]
        torch.testing.assert_close(loss(output, wanted(one_hot(labels), images))["loss"], cost)
        mixed = loss(output, wanted(0.7 * one_hot(labels) + 0.3 * one_hot(other), images))["loss"]
        torch.testing.assert_close(mixed, 0.7 * cost + 0.3 * loss(output, wanted(other, images))["loss"])

    def test_is_smaller_for_right_scores_than_for_wrong_ones(self, name):
        loss, images, labels = option("loss", name).build(), torch.rand(3, 1, 6, 6), torch.tensor([0, 1, 2])
        right, wrong = torch.eye(3), torch.eye(3).roll(1, dims=0)
        assert loss(Output(right), wanted(labels, images))["loss"] < loss(Output(wrong), wanted(labels, images))["loss"]


@pytest.mark.parametrize("name", sorted(OPTIONS["optimizer"].keys() - {"torch"}))  # that one names a class
@pytest.mark.parametrize("fused", [False, True])
def test_an_optimizer_goes_downhill_and_has_a_schedule_for_its_learning_rate(name, fused):
    weight = torch.nn.Parameter(torch.ones(5))
    optimizer, schedule = option("optimizer", name).build([weight], fused, epochs=2)
    for _ in range(5):
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()
    schedule.step()
    assert weight.square().sum() < 5
