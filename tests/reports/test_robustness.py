"""Accuracy on distorted test images."""

import pytest
import torch
from conftest import run_in_process, table
from torch import nn

from capsnet import MarginLoss, Output
from capsnet.data.batches import Batches
from capsnet.data.source import LabelledImages
from capsnet.errors import CheckpointError, DivergedError
from capsnet.reports.distortions import DISTORTIONS
from capsnet.reports.robustness import by_distortion, measure_robustness, read_robustness, write_robustness
from capsnet.tasks.classify import Classify

IMAGES = torch.rand(5, 1, 10, 12, generator=torch.Generator().manual_seed(0))


def generator():
    return torch.Generator().manual_seed(1)


class BrightCorner(nn.Module):
    """Says 1 where the upper left pixel is bright."""

    def forward(self, images, labels=None):
        corner = images[:, :, 0, 0].mean(1)
        return Output(torch.stack([0.5 - corner, corner - 0.5], dim=1))


@pytest.mark.parametrize("distortion", DISTORTIONS, ids=lambda distortion: distortion.name)
class TestDistortion:
    def test_changes_images_at_every_level_but_one_and_keeps_their_shape_and_range(self, distortion):
        assert distortion.unchanged in distortion.levels
        for level in distortion.levels:
            distorted = distortion.apply(IMAGES, level, generator())
            assert distorted.shape == IMAGES.shape
            assert torch.allclose(distorted, IMAGES, atol=1e-6) == (level == distortion.unchanged)
            assert float(distorted.min()) >= 0
            assert float(distorted.max()) <= 1 + 1e-6

    def test_is_the_same_each_time_and_every_level_takes_as_many_draws(self, distortion):
        first, second = (distortion.apply(IMAGES, distortion.levels[-1], generator()) for _ in range(2))
        assert torch.equal(first, second)
        states = []
        for level in distortion.levels:
            distortion.apply(IMAGES, level, taken := generator())
            states.append(tuple(taken.get_state().tolist()))
        assert len(set(states)) == 1


def test_translation_moves_whole_pixels_along_one_axis_and_occlusion_stays_inside():
    by_name = {distortion.name: distortion for distortion in DISTORTIONS}
    image = torch.zeros(40, 1, 20, 20)
    image[:, :, 10, 10] = 1
    places = {
        tuple(map(int, place)) for place in by_name["translation"].apply(image, 0.1, generator()).nonzero()[:, 2:]
    }
    assert places == {(8, 10), (12, 10), (10, 8), (10, 12)}
    framed = torch.nn.functional.pad(torch.ones(200, 1, 8, 8), (1, 1, 1, 1))
    black = (by_name["occlusion"].apply(framed, 0.3, generator()) == 0).sum((1, 2, 3)) - 36
    assert int(black.max()) == 9  # the color of the frame, in a square that may overlap it


def test_every_image_has_noise_of_its_own_in_whatever_batch():
    noise = next(distortion for distortion in DISTORTIONS if distortion.name == "noise")
    taken, grey = generator(), torch.full((4, 1, 6, 6), 0.5)
    images = torch.cat([noise.apply(grey, 0.1, taken) for _ in range(3)])
    assert len(images.flatten(1).unique(dim=0)) == 12


def test_accuracy_is_measured_at_every_level_of_every_distortion():
    images = torch.zeros(6, 1, 10, 10, dtype=torch.uint8)
    images[:3, :, 0, 0] = 255
    batches = Batches(LabelledImages(images, torch.tensor([1, 1, 1, 0, 0, 0])), 4)
    points = measure_robustness(
        BrightCorner(), batches, Classify(), MarginLoss(), "accuracy", {"accuracy": 1.0}, epoch=7
    )
    curves = by_distortion(points)
    assert {name: tuple(levels) for name, levels in curves.items()} == {
        distortion.name: distortion.levels for distortion in DISTORTIONS
    }
    assert curves["rotation"][0] == 1.0
    assert curves["rotation"][45] == 0.5  # the corner has left the image, so all are taken for 0
    assert {point.epoch for point in points} == {7}


class WithoutNumber(Classify):
    """Measures an angle that is no number."""

    def metrics(self, chosen, class_counts=None):
        class Angle:
            def update(self, output, targets):
                pass

            def compute(self):
                return {"angle": float("nan")}

        return {"angle": Angle()}


def test_a_metric_that_is_no_number_on_distorted_images_is_said_to_be_none():
    batches = Batches(LabelledImages(torch.zeros(2, 1, 10, 10, dtype=torch.uint8), torch.tensor([0, 1])), 2)
    with pytest.raises(DivergedError, match=r"robustness: angle is NaN or infinite at rotation="):
        measure_robustness(BrightCorner(), batches, WithoutNumber(), MarginLoss(), "angle", {"angle": 1.0}, epoch=7)


class TestFile:
    def test_what_is_written_is_read_again(self, tmp_path):
        images = LabelledImages(torch.zeros(2, 1, 10, 10, dtype=torch.uint8), torch.tensor([0, 1]))
        points = measure_robustness(
            BrightCorner(), Batches(images, 2), Classify(), MarginLoss(), "accuracy", {"accuracy": 0.5}, epoch=None
        )
        write_robustness(tmp_path / "robustness.csv", points)
        assert read_robustness(tmp_path / "robustness.csv") == points
        assert read_robustness(tmp_path / "none.csv") == []

    @pytest.mark.parametrize(
        "row", ["rotation,10,degrees,inf,3", "rotation,10,degrees,nan,3", "spin,10,degrees,0.5,3", "rotation,x,,,"]
    )
    def test_that_is_damaged_is_refused(self, tmp_path, row):
        (tmp_path / "robustness.csv").write_text(f"distortion,level,unit,accuracy,epoch\n{row}\n")
        with pytest.raises(CheckpointError, match="not a table of robustness"):
            read_robustness(tmp_path / "robustness.csv")


class TestCommand:
    def test_writes_the_table_and_the_figure_and_prints_the_accuracies(self, finished_run, tmp_path):
        checkpoint = tmp_path / "best.ckpt"
        checkpoint.write_bytes((finished_run / "checkpoints/best.ckpt").read_bytes())
        done = run_in_process("evaluate.py", f"checkpoint={checkpoint}", "robustness=true", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        rows = table(tmp_path / "robustness.csv")
        assert len(rows) == sum(len(distortion.levels) for distortion in DISTORTIONS)
        unchanged = next(row for row in rows if row["distortion"] == "rotation" and row["level"] == "0")
        assert f"accuracy  {float(unchanged['accuracy']):.2%} of" in done.stdout
        assert "occlusion (of the side)" in done.stdout
        assert (tmp_path / "figures/robustness.png").read_bytes().startswith(b"\x89PNG")

    def test_refuses_another_value_than_true_or_false(self, finished_run):
        done = run_in_process("evaluate.py", f"run={finished_run}", "robustness=very", cwd=finished_run)
        assert (done.returncode, done.stderr) == (2, "Error: robustness=very: must be true or false\n")
