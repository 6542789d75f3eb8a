"""Claims about `python -m capsnet.export`: files that say the same as the network, in batches of any size."""

import importlib.util
import json
import shutil

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import REPO, run_in_process
from PIL import Image
from test_docs import blocks

from capsnet import load
from capsnet.data.dataset import TrainingImages
from capsnet.output import Output
from capsnet.runs.onnx_files import compare_with_network, to_onnx
from capsnet.runs.trained import TrainedModel
from capsnet.settings.config import OPTIONS
from capsnet.settings.parse import config_from_dict

EXPORT = "capsnet.export"


@pytest.fixture(scope="module")
def exported(finished_run, tmp_path_factory):
    """A folder with the files of a finished run, and what was printed."""
    folder = tmp_path_factory.mktemp("exported")
    done = run_in_process(EXPORT, str(finished_run), "--to", str(folder), cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder, done.stdout


def test_the_files_are_compared_on_the_test_images(exported):
    folder, printed = exported
    assert sorted(path.name for path in folder.iterdir()) == ["decoder.onnx", "model.onnx"]
    assert "360 test images: the same predictions" in printed
    assert "images per second" in printed
    assert len(printed.splitlines()) == 5


def test_any_batch_gives_the_scores_and_capsules_of_the_network_and_its_drawings(exported, finished_run):
    model = load(finished_run)
    session, decoder = (onnxruntime.InferenceSession(exported[0] / f"{name}.onnx") for name in ("model", "decoder"))
    for count in (1, 7):
        images = torch.rand(count, 1, 28, 28)
        scores, capsules = session.run(["scores", "capsules"], {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(scores), model.predict(images).scores, atol=1e-4, rtol=0)
        assert capsules.shape == (count, 10, 16)
    capsules, labels = torch.rand(3, 10, 16) / 4, torch.tensor([4, 0, 9])
    (drawn,) = decoder.run(None, {"capsules": capsules.numpy(), "labels": labels.numpy()})
    with torch.no_grad():
        expected = model.network.cpu().decode(capsules, labels)
    torch.testing.assert_close(torch.from_numpy(drawn), expected, atol=1e-4, rtol=0)


def test_the_example_of_the_documentation_runs_with_the_files_alone(exported, tmp_path, monkeypatch):
    for name in ("model.onnx", "decoder.onnx"):
        shutil.copy(exported[0] / name, tmp_path)
    Image.fromarray(np.eye(40, dtype=np.uint8) * 255).save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    (example,) = blocks(REPO / "docs/export.md", "python")
    exec(compile(example, "export.md", "exec"), {})
    assert Image.open("drawn.png").size == (28, 28)


def test_the_files_say_what_they_are(exported):
    metadata = onnxruntime.InferenceSession(exported[0] / "model.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(metadata["class_names"]) == list("0123456789")
    assert json.loads(metadata["image_shape"]) == [1, 28, 28]
    assert metadata["network"] == "capsnet on digits"
    assert "28x28 pixels" in metadata["preprocessing"]
    assert metadata["preprocessing"].endswith("divided by 255")


def test_the_files_say_what_is_white_in_pictures_of_another_range():
    about = TrainingImages((1, 28, 28), ("a", "b"), (0.0, 0.0), {"ranges": {"more than 8 bits": [0, 4095]}})
    config = config_from_dict({"model": {"name": "small_cnn"}, "routing": {"name": "none"}})
    model = TrainedModel(config.model.build((1, 28, 28), 2, config.routing), about, True)
    metadata = onnxruntime.InferenceSession(to_onnx(model, "some").model).get_modelmeta().custom_metadata_map
    assert metadata["preprocessing"].endswith("in pictures with more than 8 bits, 0 becomes 0 and 4095 1")
    assert json.loads(metadata["ranges"]) == {"more than 8 bits": [0, 4095]}


@pytest.mark.slow
def test_a_network_without_capsules_has_no_decoder_and_an_earlier_one_is_removed(exported, tmp_path):
    small = ("model=small_cnn", "data=digits", "trainer.max_epochs=1", "data.batch_size=50", "figures=false")
    assert run_in_process("train.py", *small, "hydra.run.dir=run", cwd=tmp_path).returncode == 0
    folder = shutil.copytree(exported[0], tmp_path / "exported")
    done = run_in_process(EXPORT, "run/checkpoints/best.ckpt", "--to", "exported", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    (output,) = onnxruntime.InferenceSession(folder / "model.onnx").get_outputs()
    assert output.name == "scores"


@pytest.mark.slow
def test_without_test_images_random_ones_are_compared(kmnist_root, tmp_path):
    small = ("model=small_cnn", "trainer=cpu", "trainer.max_epochs=1", "data.batch_size=50", "figures=false")
    settings = (*small, f"data.root={kmnist_root}", "hydra.run.dir=run")
    assert run_in_process("train.py", *settings, cwd=tmp_path).returncode == 0
    done = run_in_process(EXPORT, "run", f"data.root={tmp_path}", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "compared on random images, since there are no test images: " in done.stdout
    assert "250 random images: the same predictions" in done.stdout


class Halved(torch.nn.Module):
    """A network that no exporter can follow: what it computes depends on the images."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(64, 3)

    def forward(self, images, labels=None):
        scores = self.layer(images.flatten(1))
        return Output(scores / 2 if float(images.sum()) > 5 else scores)


def test_a_network_that_cannot_be_exported_is_an_error_of_one_line(tmp_path):
    from capsnet.errors import ExportError

    model = TrainedModel(Halved(), TrainingImages((1, 8, 8), ("a", "b", "c"), (0.0, 0.0)), logits=True)
    with pytest.raises(ExportError, match="cannot be exported") as raised:
        to_onnx(model, "halved")
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_file_that_computes_something_else_is_noticed():
    def small(seed):
        torch.manual_seed(seed)
        config = config_from_dict({"model": {"name": "efficient_capsnet"}})
        network = config.model.build((1, 14, 14), 3, config.routing)
        return TrainedModel(network, TrainingImages((1, 14, 14), ("a", "b", "c"), (0.0, 0.0)), logits=False)

    images = [torch.rand(40, 1, 14, 14)]
    files = to_onnx(small(0), "small")
    assert compare_with_network(files, small(0), images).difference < 1e-5
    assert compare_with_network(files, small(1), images).difference > 1e-2


@pytest.mark.slow
def test_nothing_is_written_that_differs_from_the_network(finished_run, tmp_path, monkeypatch):
    monkeypatch.setattr("capsnet.runs.onnx_files.TOLERANCE", -1.0)
    done = run_in_process(EXPORT, str(finished_run), "--to", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert "differs from the network by" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_only_its_own_files_are_overwritten(exported, finished_run, tmp_path):
    folder = shutil.copytree(exported[0], tmp_path / "again")
    (folder / "decoder.onnx").write_bytes(b"of somebody else")
    done = run_in_process(EXPORT, str(finished_run), "--to", str(folder), cwd=tmp_path)
    assert done.returncode == 2
    assert "decoder.onnx: was not written by this program" in done.stderr
    assert (folder / "decoder.onnx").read_bytes() == b"of somebody else"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "nothing: there is no such run or checkpoint"),
        (["."], "best.ckpt: there is no such checkpoint"),
        ([".", "--to", "nowhere"], "--to nowhere: there is no such folder"),
    ],
)
def test_wrong_arguments_end_in_one_line(arguments, message, tmp_path):
    done = run_in_process(EXPORT, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_its_packages_it_says_what_to_install(finished_run, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "onnx" else found(name, *more))
    done = run_in_process(EXPORT, str(finished_run), cwd=tmp_path)
    assert done.returncode == 2
    assert "pip install 'capsnet[export]'" in done.stderr


def routed(network, routing):
    """A network with a routing, for images of an odd size; of matrix capsules few, since tracing them takes long."""
    few = {"conv_channels": 8, "primary_capsules": 2, "first_capsules": 2, "second_capsules": 2}
    sizes = few if network == "matrix_capsnet" else {}
    count = 1 if routing == "vb" else 2  # each takes the exporter half a minute
    iterations = {"iters": count} if hasattr(OPTIONS["routing"][routing], "iters") else {}
    config = config_from_dict({"model": {"name": network, **sizes}, "routing": {"name": routing, **iterations}})
    return TrainedModel(
        config.model.build((3, 29, 35), 4, config.routing), TrainingImages((3, 29, 35), tuple("abcd"), (0.0, 0.0)), True
    )


def routings(network):
    """The names of those that a network can use."""
    if not network.capsules:
        return ["none"]
    method = "build_matrices" if getattr(network, "matrices", False) else "build"
    return [name for name, option in OPTIONS["routing"].items() if hasattr(option, method) and name != "none"]


def combinations():
    """Every network with the first routing it can use, and every routing with the first network that can use it."""
    usable = {name: routings(option) for name, option in OPTIONS["model"].items()}
    first = {routing: network for network, names in reversed(usable.items()) for routing in names}
    return sorted({(network, names[0]) for network, names in usable.items()} | {(n, r) for r, n in first.items()})


@pytest.mark.slow
@pytest.mark.parametrize(("network", "routing"), combinations())
def test_every_network_and_every_routing_is_exported(network, routing):
    model = routed(network, routing)
    files = to_onnx(model, "some")
    assert (files.decoder is None) == (getattr(model.network, "decoder", None) is None)
    found = compare_with_network(files, model, [torch.rand(5, 3, 29, 35)])
    assert found.difference < 1e-4
    assert found.other_predictions == 0
