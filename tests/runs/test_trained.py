"""Claims about `capsnet.load`: a trained network classifies whatever form images come in, prepared as for training."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import capsnet
from capsnet.data.batches import to_float
from capsnet.data.digits import Digits
from capsnet.data.pictures import border
from capsnet.errors import CheckpointError, DataError
from capsnet.networks.small_cnn import SmallCNN
from capsnet.runs import trained
from capsnet.runs.checkpoints import DATASET_KEY, read_checkpoint
from capsnet.runs.trained import TrainedModel, TrainingImages
from capsnet.training.checkpoint_io import AtomicCheckpointIO


@pytest.fixture(scope="module")
def images():
    source = Digits()
    source.prepare()
    return source.test()


def test_the_test_images_give_the_accuracy_of_the_evaluation(model, finished_run, images):
    report = json.loads((finished_run / "evaluation.json").read_text())
    found = model.predict(images.images)
    assert (found.labels == images.labels).double().mean() == report["accuracy"]
    assert found.names == [model.class_names[label] for label in found.labels]
    assert model.class_names == tuple("0123456789")
    output = model.network(to_float(images.images[:5]))
    torch.testing.assert_close(found.scores[:5], output.scores.detach(), rtol=1e-5, atol=1e-6)


def test_a_network_for_images_of_two_cameras_takes_tensors_and_no_pictures():
    shape, names = (2, 28, 28), tuple("abcde")
    model = TrainedModel(SmallCNN(shape, 5), TrainingImages(shape, names, (0.0, 0.0)), logits=True)
    assert model.predict(torch.rand(3, *shape)).labels.shape == (3,)
    with pytest.raises(DataError, match="this network's images have 2 channels"):
        model.predict([np.zeros((28, 28, 3), np.uint8)])


def test_every_form_of_the_same_image_gives_the_same_scores(model, images, tmp_path):
    pixels = images.images[3, 0].numpy()
    path = tmp_path / "3.png"
    Image.fromarray(pixels).save(path)
    expected = model.predict(images.images[3:4]).scores
    for form in (
        *(path, str(path), [path], Image.open(path), Image.open(path).convert("RGB"), pixels),
        *(pixels / 255, pixels[..., None], np.repeat(pixels[..., None], 3, axis=2), [pixels], pixels[None, ..., None]),
        *(to_float(images.images[3:4]), images.images[3], pixels[None], pixels[None, None]),
    ):
        assert torch.equal(model.predict(form).scores, expected)


def test_many_images_are_classified_in_batches_with_the_same_scores(model, images):
    many = images.images.repeat(2, 1, 1, 1)
    assert len(many) > 2 * trained.BATCH
    one_by_one = torch.cat([model.predict(image[None]).scores for image in many[:20]])
    torch.testing.assert_close(model.predict(many).scores[:20], one_by_one, rtol=1e-4, atol=1e-5)
    assert model.predict([]).scores.shape == (0, 10)


@pytest.mark.parametrize(
    "wrong", [torch.zeros(1, 1, 20, 20), torch.zeros(1, 20, 28), np.zeros((28, 28, 2), np.uint8), np.full((9, 9), 3.0)]
)
def test_what_is_no_image_is_a_value_error(model, wrong):
    with pytest.raises(ValueError, match="expected"):
        model.predict(wrong)


@pytest.mark.parametrize(
    ("value", "dtype"), [(2, torch.float32), (-0.1, torch.float64), (torch.nan, torch.float32), (1, torch.int64)]
)
def test_a_tensor_of_other_numbers_is_a_value_error(model, value, dtype):
    images = torch.zeros(2, 1, 28, 28, dtype=dtype)
    images[1, 0, 3, 3] = value
    with pytest.raises(ValueError, match=r"expected a tensor of uint8, or of numbers in \[0, 1\]"):
        model.predict(images)


def test_a_picture_without_pixels_what_is_no_picture_and_a_missing_file_are_refused(model, tmp_path):
    with pytest.raises(ValueError, match="expected a picture with pixels, got one of 0 x 0"):
        model.predict(Image.new("L", (0, 0)))
    with pytest.raises(TypeError, match="expected paths, PIL images, arrays or a tensor, got NoneType"):
        model.predict(None)
    with pytest.raises(DataError, match=r"none.png: cannot be read \(No such file"):
        model.predict([tmp_path / "none.png"])


def test_an_image_that_is_light_where_the_others_are_dark_looks_inverted(model, images):
    prepared = images.images[:50].numpy()
    assert not any(model.looks_inverted(image) for image in prepared)
    inverted = [model.looks_inverted(255 - image) for image in prepared]
    dark_borders = [border(image).mean() < 50 for image in prepared]
    assert sum(inverted) > 40
    assert all(inverted[place] for place, dark in enumerate(dark_borders) if dark)


def test_scores_of_a_network_trained_with_cross_entropy_are_probabilities(images):
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    network = torch.nn.Module()
    network.add_module("linear", linear)
    network.forward = lambda batch: capsnet.Output(linear(batch))
    about = trained.TrainingImages((1, 28, 28), tuple("0123456789"), (0.0, 0.0))
    found = trained.TrainedModel(network, about, logits=True).predict(images.images)
    torch.testing.assert_close(found.scores.sum(1), torch.ones(len(images.images)))
    raw = trained.TrainedModel(network, about, logits=False).predict(images.images)
    assert torch.equal(raw.labels, found.labels)


def test_a_checkpoint_that_does_not_describe_its_images_is_refused(finished_run, tmp_path):
    content = read_checkpoint(finished_run / "checkpoints/best.ckpt")
    changed = {**content, DATASET_KEY: {**content[DATASET_KEY], "image_shape": None}}
    AtomicCheckpointIO().save_checkpoint(changed, tmp_path / "changed.ckpt")
    with pytest.raises(CheckpointError, match="earlier version"):
        capsnet.load(tmp_path / "changed.ckpt")
    with pytest.raises(CheckpointError, match="no such run or checkpoint"):
        capsnet.load(tmp_path / "nothing")
    shutil.copy(finished_run / "checkpoints/best.ckpt", tmp_path / "copy.ckpt")
    assert capsnet.load(str(tmp_path / "copy.ckpt")).image_shape == (1, 28, 28)
