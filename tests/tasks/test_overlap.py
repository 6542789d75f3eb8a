"""Claims about two characters on top of each other: how pairs are made, drawn, measured, and go everywhere."""

import gzip
import itertools
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DIGITS, REPO, digits_config, record_of, run_in_process, table
from explorer.serving import decoded, encoded, served
from PIL import Image

from capsnet import Output, Targets, compose, load
from capsnet.augment import Augmentation
from capsnet.data.batches import Batches, TrainingBatches
from capsnet.data.source import LabelledImages
from capsnet.errors import ConfigError
from capsnet.metrics.pairs import Pairs
from capsnet.runs.checkpoints import build_network
from capsnet.settings.config import OPTIONS, monitor_named
from capsnet.settings.parse import config_from_dict
from capsnet.tasks.overlap import Overlap, by_overlap, ink_overlap
from capsnet.training.datamodule import KMNISTDataModule
from capsnet.training.module import CapsNetModule
from capsnet.training.run import train

CLASSES, SHIFT = 5, 3
SHARED = REPO.parent / "shared"


@pytest.fixture(scope="module")
def split():
    """Forty small images, of which no two are alike."""
    images = torch.randint(1, 256, (40, 1, 4, 6), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return LabelledImages(images, torch.arange(40) % CLASSES)


def training(split, task, batch_size=8, seed=0, epoch=0, **place):
    made = partial(TrainingBatches, augmentation=Augmentation(), seed=seed, epoch=lambda: epoch)
    return made(split, batch_size, classes=CLASSES, composition=task, **place)


def scoring(split, task, batch_size=8, **place):
    return Batches(split, batch_size, classes=CLASSES, composition=task, **place)


def pairs_of(*processes):
    """Every pair of an epoch as bytes with its classes, in an order that does not matter."""
    found = [
        (merged.numpy().tobytes(), drawn.numpy().tobytes(), *labels.tolist())
        for batches in processes
        for images, targets in batches
        for merged, drawn, labels in zip(images, targets.drawn, targets.labels, strict=True)
    ]
    return sorted(found)


def where_images_are_put(split):
    """What each image looks like wherever it may be on the canvas -> its number and place."""
    canvases = {}
    for number, image in enumerate(split.images.numpy()):
        for down, right in itertools.product(range(-SHIFT, SHIFT + 1), repeat=2):
            canvas = np.zeros((1, 4 + 2 * SHIFT, 6 + 2 * SHIFT), np.float32)
            canvas[:, SHIFT + down : SHIFT + down + 4, SHIFT + right : SHIFT + right + 6] = image / np.float32(255)
            canvases[canvas.tobytes()] = (number, down, right)
    return canvases


@pytest.mark.parametrize("make", [training, scoring])
def test_a_pair_is_two_images_of_different_classes_moved_within_bounds_and_added_up_to_one(split, make):
    canvases, places = where_images_are_put(split), set()
    for images, targets in make(split, Overlap(shift=SHIFT, pairs_per_image=9, test_pairs_per_image=9)):
        assert images.shape[1:] == (1, 4 + 2 * SHIFT, 6 + 2 * SHIFT)
        assert np.array_equal(images, np.minimum(1, targets.drawn[:, 0].numpy() + targets.drawn[:, 1].numpy()))
        assert (targets.labels[:, 0] != targets.labels[:, 1]).all()
        for drawn, labels in zip(targets.drawn.numpy(), targets.labels.tolist(), strict=True):
            found = [canvases[single.tobytes()] for single in drawn]
            assert [int(split.labels[number]) for number, _, _ in found] == labels
            places |= {place for _, *place in found for place in [tuple(place)]}
    assert len(places) == (2 * SHIFT + 1) ** 2


def test_dark_ink_on_paper_is_added_as_bright_ink_on_black_is_and_the_other_ground_is_refused(split):
    bright = LabelledImages(split.images.clone(), split.labels)
    bright.images[..., [0, -1], :] = 0
    bright.images[..., [0, -1]] = 0
    dark = LabelledImages(255 - bright.images, split.labels)
    for (on_paper, of_paper), (on_black, of_black) in zip(
        scoring(dark, Overlap(shift=SHIFT, dark_ink=True)), scoring(bright, Overlap(shift=SHIFT)), strict=True
    ):
        torch.testing.assert_close(on_paper, 1 - on_black)
        torch.testing.assert_close(of_paper.drawn, 1 - of_black.drawn)
    with pytest.raises(ConfigError, match=r"a light ground; set task\.dark_ink=true"):
        next(iter(scoring(dark, Overlap(shift=SHIFT))))
    with pytest.raises(ConfigError, match=r"a dark ground; set task\.dark_ink=false"):
        next(iter(scoring(bright, Overlap(shift=SHIFT, dark_ink=True))))


def test_of_toned_paper_the_ink_alone_is_added(split):
    ink = split.images.clone()
    ink[..., [0, -1], :] = 0
    ink[..., [0, -1]] = 0
    paper = torch.tensor([212, 188, 148]).view(3, 1, 1)
    toned = LabelledImages((paper * (1 - ink / 255)).round().to(torch.uint8), split.labels)
    black = LabelledImages(ink.repeat(1, 3, 1, 1), split.labels)
    for (on_paper, of_paper), (on_black, _) in zip(
        scoring(toned, Overlap(shift=SHIFT, dark_ink=True)), scoring(black, Overlap(shift=SHIFT)), strict=True
    ):
        torch.testing.assert_close(on_paper, paper / 255 * (1 - on_black), atol=0.01, rtol=0)
        torch.testing.assert_close(of_paper.drawn.amax((3, 4)), (paper / 255).view(3).expand(of_paper.drawn.shape[:3]))


@pytest.mark.parametrize("make", [training, scoring])
def test_pairs_are_the_same_whatever_the_batch_size_and_the_number_of_processes(split, make):
    task = Overlap(shift=SHIFT)
    whole = pairs_of(make(split, task))
    assert pairs_of(make(split, task, batch_size=7)) == whole
    assert pairs_of(*(make(split, task, rank=rank, world_size=3) for rank in range(3))) == whole


def test_training_pairs_are_new_in_each_epoch_and_of_each_seed_and_scored_pairs_always_the_same(split):
    task = Overlap(shift=SHIFT)
    first, again = pairs_of(training(split, task)), pairs_of(training(split, task))
    assert first == again
    assert not set(first) & set(pairs_of(training(split, task, epoch=1)))
    assert not set(first) & set(pairs_of(training(split, task, seed=1)))
    loader = scoring(split, task)
    assert pairs_of(loader) == pairs_of(loader) == pairs_of(scoring(split, Overlap(shift=SHIFT, held_out_pairs=0.2)))


def test_no_split_sees_an_image_of_another_and_kmnist_7k_has_ten_thousand_test_pairs():
    chosen = {"data": "kmnist_7k", "task": "overlap", "task.shift": 0, "data.batch_size": 500}
    data = KMNISTDataModule(config=config_from_dict({}, chosen))
    dataset = data.dataset
    data.setup()
    loaders = {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()}
    for name, loader in loaders.items():
        own = {image.tobytes() for image in getattr(dataset, f"{name}_split").images.numpy()}
        drawn = torch.cat([targets.drawn for _, targets in loader])
        assert {single.tobytes() for single in (drawn * 255).round().byte().flatten(0, 1).numpy()} <= own, name
        assert len(drawn) == {"train": 1, "val": 5, "test": 5}[name] * dataset.counts[name]
    assert sum(loaders["test"].sizes) == 10_000


def test_held_out_pairs_are_never_trained_spread_over_the_classes_and_measured_apart(split):
    table_of_ten = Overlap(held_out_pairs=0.2).held_out(10)
    assert torch.equal(table_of_ten, table_of_ten.T)
    assert table_of_ten.triu().sum() == 9  # of 45
    assert set(table_of_ten.sum(0).tolist()) <= {1, 2}
    task = Overlap(shift=SHIFT, held_out_pairs=0.4, pairs_per_image=20)
    held_out = task.held_out(CLASSES)
    trained = torch.cat([targets.labels for _, targets in training(split, task)])
    assert not held_out[trained[:, 0], trained[:, 1]].any()
    scored = torch.cat([targets.labels for _, targets in scoring(split, task)])
    assert held_out[scored[:, 0], scored[:, 1]].any()

    scores, metric = torch.rand(len(scored), CLASSES), task.metrics({})["pairs"]
    for some, labels in zip(scores.split(30), scored.split(30), strict=True):
        metric.update(Output(some), Targets(labels, torch.zeros(0)))
    best = np.argsort(-scores.numpy(), axis=1)[:, :2]
    pairs = zip(scored.tolist(), best.tolist(), strict=True)
    found = np.array([len({*labels} & {*named}) / 2 for labels, named in pairs])
    apart = held_out[scored[:, 0], scored[:, 1]].numpy()
    assert metric.compute() == pytest.approx(
        {
            "exact_match": (found[~apart] == 1).mean(),
            "per_character": found[~apart].mean(),
            "held_out_exact_match": (found[apart] == 1).mean(),
        }
    )
    with pytest.raises(ConfigError, match=r"held_out_pairs=0.9: a class would have no pair left"):
        Overlap(held_out_pairs=0.9).held_out(CLASSES)


def test_single_characters_are_trained_alone_and_tested_in_pairs(split):
    task = Overlap(shift=SHIFT, train="single")
    for images, targets in training(split, task):
        assert targets.labels.shape == (len(images), 1)
        assert torch.equal(targets.drawn[:, 0], images)
    assert next(iter(scoring(split, task)))[1].labels.shape[1] == 2
    metric = Pairs()
    metric.update(Output(torch.eye(3)[[0, 1, 2, 0]]), Targets(torch.tensor([[0], [1], [0], [0]]), torch.zeros(0)))
    assert metric.compute() == {"exact_match": 0.75, "per_character": 0.75}


class Drawer(torch.nn.Module):
    """Its drawing of a class is an image of the class's number, and its scores are what the image says."""

    def forward(self, images, labels=None):
        scores, capsules = images[:, 0, 0], torch.zeros(len(images), CLASSES, 1)
        return Output(scores, capsules, self.decode(capsules, scores.argmax(1) if labels is None else labels))

    def decode(self, capsules, labels):
        return labels.float().view(-1, 1, 1, 1).expand(-1, 1, 1, CLASSES)


def test_the_decoder_draws_the_true_classes_in_training_and_else_those_chosen_each_against_its_own_image():
    chosen = torch.tensor([[0, 5, 0, 9, 0], [0, 9, 5, 0, 0], [9, 0, 0, 0, 5]]).float()  # 3 and 1, 1 and 2, 0 and 4
    labels = torch.tensor([[1, 2], [2, 1], [3, 0]])
    targets, images = Targets(labels, torch.zeros(3, 2, 1, 1, CLASSES)), chosen[:, None, None]
    task, network = Overlap(), Drawer()
    assert torch.equal(task.output(network, images, targets).reconstruction[..., 0, 0, 0], labels.float())
    output = task.output(network, images, targets, choose=True)
    assert output.reconstruction[..., 0, 0, 0].tolist() == [[1, 3], [2, 1], [4, 0]]
    details = task.details(output, targets, logits=False)
    assert details["answers"].tolist() == [[1, 3], [2, 1], [4, 0]]
    assert details["errors"].tolist() == [[1, 9], [4, 1], [16, 0]]


def test_overlap_of_ink_is_intersection_over_union_and_counted_in_bins():
    first, second = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    first[0, 0, :2], second[0, 0, 1:3] = 1, 1  # 4 of 12 pixels
    overlap = ink_overlap(torch.stack([first, second], 1))
    assert overlap.tolist() == pytest.approx([1 / 3, 0])  # the second has no ink at all
    bins = by_overlap(overlap, torch.tensor([True, False]))
    assert [(found["pairs"], found["exact_match"]) for found in bins if found["pairs"]] == [(1, 0.0), (1, 1.0)]
    assert bins[-1] == {"from": 0.25, "to": 1.0, "pairs": 1, "exact_match": 1.0}


@pytest.mark.parametrize(("bias", "parameters"), [(False, 11_361_808), (True, 11_361_968)])
def test_multimnist_has_the_papers_canvas_and_parameters(bias, parameters):
    given = {"data": "mnist", "data.root": "../shared", "task": "overlap", "routing.bias": bias}
    network = build_network(config_from_dict({}, given), (1, 28, 28), 10)
    assert network.image_shape == (1, 36, 36)
    assert sum(weight.numel() for weight in network.parameters()) == parameters


def test_multimnist_is_made_of_the_digits_that_lie_beside_the_checkout(tmp_path):
    archives = sorted((SHARED / "MNIST/raw").glob("*.gz"))
    if not archives:
        pytest.skip("../shared/MNIST, beside this checkout, is not there")
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    for archive in archives:
        (raw / archive.stem).write_bytes(gzip.decompress(archive.read_bytes()))
    chosen = {"data": "mnist", "data.root": str(tmp_path), "task": "overlap", "data.batch_size": 100}
    data = KMNISTDataModule(config=config_from_dict({}, chosen))
    data.setup("test")
    batches = data.test_dataloader()
    assert sum(batches.sizes) == 50_000
    images, targets = batches.take(range(0, 50_000, 1000))
    assert images.shape == (50, 1, 36, 36)
    assert targets.labels.shape == (50, 2)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"augment": "mixup"}, "augment.mixup=0.4: task=overlap lays images over each other already"),
        ({"metrics": "f1"}, "metrics=f1: is for one class an image, and task=overlap has several"),
        ({"data.class_weights": "balanced"}, "is for one class an image, and task=overlap has several"),
        ({"loss": "cross_entropy", "loss.label_smoothing": 0.1}, "loss.label_smoothing=0.1: is for one class an image"),
        ({"task.train": "double"}, "task.train=double: must be one of pairs, single"),
    ],
)
def test_what_does_not_go_together_is_told_in_one_line(setting, message, tmp_path):
    arguments = [f"{key}={value}" for key, value in setting.items()]
    done = run_in_process("train.py", *DIGITS, "task=overlap", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("routing", ["inverted", "self", "uniform"])
def test_matrix_capsules_that_share_one_activation_cannot_name_two_classes(routing):
    with pytest.raises(ConfigError, match=f"routing={routing}: the activations .* sum to 1"):
        compose("task=overlap", "model=matrix_capsnet", f"routing={routing}")


def test_metrics_see_each_classs_own_probability():
    measurements = CapsNetModule("task=overlap", "model=small_cnn").measurements["test"]
    scores = torch.tensor([[2.0, 2.0, -9.0]])
    torch.testing.assert_close(measurements.confidences(Output(scores)), scores.sigmoid())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small training of pairs with figures, interrupted after its first epoch and resumed."""
    folder = tmp_path_factory.mktemp("pairs")
    settings = ("task=overlap", "task.shift=2", "task.held_out_pairs=0.2", "task.test_pairs_per_image=1")
    for name, epochs in (("whole", 2), ("resumed", 1)):
        arguments = (f"trainer.max_epochs={epochs}", f"hydra.run.dir={name}", f"figures={str(name == 'whole').lower()}")
        done = run_in_process("train.py", *DIGITS, *settings, *arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
    assert run_in_process("train.py", "resume=resumed", "trainer.max_epochs=2", cwd=folder).returncode == 0
    return folder


def test_a_run_is_resumed_evaluated_and_summed_up(run):
    assert (run / "whole/metrics.csv").read_text() == (run / "resumed/metrics.csv").read_text()
    assert "val/held_out_exact_match" in table(run / "whole/metrics.csv")[0]
    record = record_of(run / "whole")
    assert record["config"]["task"]["held_out_pairs"] == 0.2
    assert {path.stem for path in (run / "whole/figures").iterdir()} == {"curves", "pairs", "confusion"}
    done = run_in_process("evaluate.py", "run=resumed", "figures=false", cwd=run)
    assert done.returncode == 0, done.stderr
    assert f"{record['metrics']['test/exact_match']:.2%} of the other pairs of classes" in done.stdout
    report = json.loads((run / "resumed/evaluation.json").read_text())
    assert sum(found["pairs"] for found in report["by_overlap"]) == report["pairs"] == 360
    assert len(report["held_out_pairs"]) == 9
    assert {"first", "second"} == report["reconstruction_errors"].keys()
    done = run_in_process("capsnet.compare", "whole", "resumed", cwd=run)
    assert "exact match" in done.stdout.replace("_", " ")


def test_a_trained_network_names_two_in_python_and_in_the_terminal(run, tmp_path):
    model = load(run / "whole")
    assert model.image_shape == (1, 32, 32)
    said = model.predict(torch.rand(3, 1, 32, 32))
    assert said.labels.shape == (3, 2)
    assert [list(names) for names in said.names] == [[str(label) for label in pair] for pair in said.labels.tolist()]
    assert torch.equal(said.scores.gather(1, said.labels), said.scores.topk(2).values)
    picture = np.zeros((50, 40), np.uint8)
    picture[10:40, 12:18] = picture[12:18, 8:30] = 255
    Image.fromarray(picture).save(tmp_path / "two.png")
    done = run_in_process("capsnet.predict", str(run / "whole"), str(tmp_path / "two.png"), "--json", cwd=tmp_path)
    (row,) = json.loads(done.stdout)
    assert row["class_1"] != row["class_2"]
    assert row["score_1"] >= row["score_2"]
    between = (row["score_1"] + row["score_2"]) / 2
    for least, named in ((between, [row["class_1"], None]), (1.0, [None, None])):
        given = (str(run / "whole"), str(tmp_path / "two.png"), "--json", f"--least={least}")
        (row,) = json.loads(run_in_process("capsnet.predict", *given, cwd=tmp_path).stdout)
        assert [row["class_1"], row["class_2"]] == named


def test_higher_is_better_for_all_that_the_task_measures(run):
    for name in ("exact_match", "per_character", "held_out_exact_match"):
        assert not monitor_named(name, OPTIONS["task"]["overlap"]).lower_is_better
    assert monitor_named("val/loss", OPTIONS["task"]["overlap"]).lower_is_better
    settings = ("task=overlap", "task.shift=2", "task.held_out_pairs=0.2", "monitor=held_out_exact_match")
    given = (*DIGITS, *settings, "data.val_size=0", "trainer.max_epochs=1", "hydra.run.dir=all")
    done = run_in_process("train.py", *given, cwd=run)
    assert done.returncode == 0, done.stderr
    other = (*DIGITS, "task=overlap", "task.shift=1", "task.pad=2", "trainer.max_epochs=1", "hydra.run.dir=other")
    assert run_in_process("train.py", *other, cwd=run).returncode == 0
    done = run_in_process("evaluate.py", "run=[whole,other]", cwd=run)
    assert done.returncode == 2
    assert "other: has task.shift=1, but whole 2" in done.stderr


def test_the_explorer_puts_two_test_images_together_as_the_task_does(run):
    with served(run / "whole") as explorer:
        _, about = explorer.ask("/about")
        assert (about["singles"], about["shape"], about["singleShape"]) == (2, [1, 32, 32], [1, 28, 28])
        _, samples = explorer.ask("/samples", {"label": None, "page": 0})
        placed = [{"number": samples[0]["number"], "down": 2, "right": -1}]
        placed.append({"number": samples[1]["number"], "down": -2, "right": 0})
        _, arranged = explorer.ask("/arrange", {"placed": placed})
        expected = np.zeros((1, 32, 32), int)
        for sample, one in zip(samples, placed, strict=False):
            top, left = 2 + one["down"], 2 + one["right"]
            expected[:, top : top + 28, left : left + 28] += decoded(sample["pixels"], (1, 28, 28))
        pixels = decoded(arranged["pixels"], (1, 32, 32))
        assert np.array_equal(pixels, np.minimum(expected, 255))
        change = {"rotation": 0, "right": 0, "down": 0, "size": 1}
        _, said = explorer.ask("/look", {"pixels": encoded(pixels), "change": change})
        assert said["answers"] == np.argsort(said["scores"])[::-1][:2].tolist()
        assert set(said["answers"]) <= set(said["drawn"])


@pytest.mark.slow
def test_a_network_with_two_answers_is_exported(run, tmp_path):
    done = run_in_process("capsnet.export", str(run / "whole"), "--to", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "360 test images: the same predictions" in done.stdout


def test_a_plugins_network_and_images_in_colour_take_part_without_a_change(tmp_path):
    plugins = shutil.copytree(REPO / "tests/plugins", tmp_path / "plugins")
    settings = ("data=stripes", "data.batch_size=20", "trainer=cpu", "trainer.max_epochs=1", "figures=false")
    chosen = (f"plugin={plugins / 'stripes.py'}", "model=tiny", "task=overlap", "augment=[shift,fade]")
    done = run_in_process("train.py", *settings, *chosen, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert record_of(tmp_path / "run")["metrics"]["test/exact_match"] > 0


@pytest.mark.slow
def test_a_folder_of_kanji_takes_part_without_a_change(tmp_path):
    if not (SHARED / "kkanji20").is_dir():
        pytest.skip("../shared/kkanji20, beside this checkout, is not there")
    settings = ("data=folder", f"data.root={SHARED / 'kkanji20'}", "data.limit=200", "trainer=cpu", "figures=false")
    small = ("model=small_capsnet", "model.conv_channels=4", "model.primary_capsules=2", "trainer.max_epochs=1")
    done = run_in_process("train.py", *settings, *small, "task=overlap", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 0 <= record_of(tmp_path / "run")["metrics"]["test/exact_match"] <= 1


@pytest.mark.slow
def test_a_control_without_capsule_layers_is_trained_and_monitored_by_exact_match(tmp_path):
    results = train(digits_config(task="overlap", model="capsule_loss_cnn", data__limit=100), Path(tmp_path))
    assert results.monitor == "val/exact_match"
    assert results.metrics.keys() >= {"train/per_character", "val/reconstruction_loss", "test/exact_match"}
