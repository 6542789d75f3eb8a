"""Training from Python, YAML files of one's own, and networks that were trained elsewhere."""

import logging
import shutil
import sys
from pathlib import Path

import pytest
import torch
from conftest import DIGITS, only_run, record_of, run_in_process

import capsnet
from capsnet.errors import CheckpointError, ConfigError, PluginError
from capsnet.lightning import CapsNetModule
from capsnet.networks.normalization import set_normalization
from capsnet.runs.folder import BEST_CHECKPOINT
from capsnet.runs.initial_weights import freeze
from capsnet.runs.resume import resumed
from capsnet.scripting import _lines_shown
from capsnet.settings import CONFIGS
from capsnet.settings.config import OPTIONS, name_of
from capsnet.settings.optimizer import Torch


def test_a_mistake_is_an_exception_in_the_words_of_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for wrong, words in (
        ("routing.iters=0", "must be at least 1"),
        ("model=none_such", "no such option; choose capsnet"),
        ("lr=0.1", "use optimizer.lr=0.1"),
        ("sweep=seeds", "run it by: capsnet train sweep=seeds"),
        ("resume=x", "only the command line does this"),
    ):
        with pytest.raises(ConfigError, match=words):
            capsnet.train(wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_ones_own_in_every_group_changes_an_option(tmp_path):
    for group, options in OPTIONS.items():
        (tmp_path / group).mkdir()
        (tmp_path / group / "mine.yaml").write_text(f"defaults: [{next(iter(options))}]\n")
    (tmp_path / "model/mine.yaml").write_text("defaults: [efficient_capsnet]\nclass_dim: 12\n")
    (tmp_path / "optimizer/mine.yaml").write_text("defaults: [adamw]\nlr: 0.5\n")
    (tmp_path / "local").mkdir()
    (tmp_path / "local/default.yaml").write_text("# @package _global_\nseed: 7\n")
    chosen = [f"{group}=mine" for group in OPTIONS if group != "routing"]
    for config in (
        capsnet.compose(*chosen, "model.dropout=0.5", config_dirs=[tmp_path]),
        capsnet.compose(*chosen, "model.dropout=0.5", f"hydra.searchpath=[file://{tmp_path}]"),
    ):
        assert (config.model.class_dim, config.model.dropout, config.seed) == (12, 0.5, 7)
        assert (name_of("optimizer", config.optimizer), config.optimizer.lr) == ("adamw", 0.5)  # not what suits
        assert name_of("routing", config.routing) == "attention"  # comes with the network
    (tmp_path / "model/copy.yaml").write_text((CONFIGS / "model/efficient_capsnet.yaml").read_text() + "class_dim: 9\n")
    (tmp_path / "model/empty.yaml").write_text("class_dim: 12\n")
    assert capsnet.compose("model=copy", config_dirs=[tmp_path]).model.class_dim == 9  # though another file is wrong
    (tmp_path / "routing/foreign.yaml").write_text("defaults: [warm]\n")
    with pytest.raises(ConfigError, match="routing=warm: no such option"):
        capsnet.compose("routing=foreign", config_dirs=[tmp_path])
    (tmp_path / "model/circle.yaml").write_text("defaults: [circle_2]\n")
    (tmp_path / "model/circle_2.yaml").write_text("defaults: [circle]\n")
    assert capsnet.compose("model=copy", config_dirs=[tmp_path]).model.class_dim == 9
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/with_plugin.yaml").write_text("# @package _global_\nplugin: mine.py\n")
    with pytest.raises(PluginError, match=r"plugin=mine\.py: is read only if the command line names it"):
        capsnet.compose("experiment=with_plugin", config_dirs=[tmp_path])
    with pytest.raises(ConfigError, match="must begin with the option that it changes"):
        capsnet.compose("model=empty", config_dirs=[tmp_path])


def test_a_config_that_training_would_refuse_is_not_shown(tmp_path):
    done = run_in_process("train.py", "routing.iters=0", "--cfg", "job", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "routing.iters=0: must be at least 1" in done.stderr


def test_an_optimizer_of_torchs_is_made_for_a_fresh_config_and_never_for_a_saved_one(tmp_path):
    asked = ("optimizer=torch", "optimizer._target_=torch.optim.RMSprop", "+optimizer.arguments.momentum=0.5")
    done = run_in_process("train.py", *DIGITS, "trainer.max_epochs=1", *asked, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "torch.optim.RMSprop" in record_of(tmp_path / "run")["foreign"]
    resume = ("train.py", "resume=run", "trainer.max_epochs=2")
    refused = run_in_process(*resume, cwd=tmp_path)
    assert "optimizer._target_=CLASS" in refused.stderr
    other = run_in_process(*resume, "optimizer._target_=torch.optim.Adam", cwd=tmp_path)
    assert "cannot change in this run (was torch.optim.RMSprop)" in other.stderr
    rerun = run_in_process("train.py", "rerun=run", "optimizer._target_=torch.optim.Adam", cwd=tmp_path)
    assert "cannot change in this run (was torch.optim.RMSprop)" in rerun.stderr
    assert run_in_process(*resume, asked[1], cwd=tmp_path).returncode == 0


def test_arguments_of_an_optimizer_are_plain_data(tmp_path):
    odd = Torch(_target_="torch.optim.SGD", arguments={"weight_decay": {"_target_": "os.getcwd"}})
    with pytest.raises(ConfigError, match=r"optimizer._target_=torch.optim.SGD: "):
        odd.make([torch.nn.Parameter(torch.zeros(2))], fused=False)


RESIDUAL = (*(one for one in DIGITS if not one.startswith("model.")), "model=res_capsnet", "model.width=8")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The folder of a run to begin from."""
    folder = tmp_path_factory.mktemp("first")
    done = run_in_process("train.py", *RESIDUAL, "trainer.max_epochs=1", "name=first", "tags=[a,b]", cwd=folder)
    assert done.returncode == 0, done.stderr
    return only_run(folder)


def weights(run):
    return capsnet.load(run).network.state_dict()


def test_a_run_begins_with_the_weights_of_another_and_keeps_what_is_frozen(first, tmp_path):
    again = ("trainer.max_epochs=1", "seed=1", f"init={first}", "freeze=true", "hydra.run.dir=run")
    done = run_in_process("train.py", *RESIDUAL, *again, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    before, after = weights(first), weights(tmp_path / "run")
    kept = {name for name, weight in before.items() if torch.equal(after[name], weight)}
    assert kept == {name for name in before if not name.startswith(("routing", "decoder"))}  # running means, too
    assert set(record_of(tmp_path / "run")["init"]) == {"path", "sha256"}


def test_the_class_layer_begins_small_if_the_classes_are_new(first):
    shape, settings = (1, 28, 28), ("model=res_capsnet", "model.width=8", f"init={first}")
    begun = CapsNetModule(*settings, image_shape=shape, class_names=tuple("abcdefghij")).network.state_dict()
    new = CapsNetModule(*settings[:2], image_shape=shape).network.state_dict()
    for name, weight in weights(first).items():
        if name == "routing.weight":
            assert torch.equal(begun[name], new[name] / 4)
        else:
            per_class = name.startswith("decoder") and new[name].shape[-1] == 160
            assert torch.equal(begun[name], new[name] if per_class else weight), name


def test_a_network_that_begins_with_weights_sees_images_as_these_have_seen_them(first):
    module = CapsNetModule(*RESIDUAL, "data.normalize=channels", f"init={first}", "seed=1")
    set_normalization(module.network, torch.tensor([0.2]), torch.tensor([0.3]))  # of other images
    module.begin()
    images = torch.rand(3, 1, 28, 28)
    assert torch.equal(module.network.eval().stem(images), capsnet.load(first).network.stem(images))


def test_weights_of_another_network_are_refused_with_the_settings_of_theirs(first):
    with pytest.raises(ConfigError, match=r"it was trained with model=res_capsnet model.width=8$"):
        CapsNetModule("model=pooled_capsnet", f"init={first}")


@pytest.mark.parametrize("routing", ["em", "vb"])
def test_all_that_comes_before_the_class_layer_is_frozen_its_statistics_too(routing):
    small = ("model.conv_channels=4", "model.primary_capsules=2", "model.first_capsules=2", "model.second_capsules=2")
    config = capsnet.compose("model=matrix_capsnet", f"routing={routing}", *small)
    network = config.model.build((1, 28, 28), 3, config.routing)
    parts = freeze(network, config, (1, 28, 28), 3)
    trained = {name for name, weight in network.named_parameters() if weight.requires_grad}
    assert trained
    assert all(name.startswith("layers.2.") for name in trained)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    for part in parts:
        part.eval()
    network(torch.rand(4, 1, 28, 28))
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("layers.2.") for name in changed)


@pytest.mark.slow
def test_a_repetition_begins_with_the_same_file_or_says_that_it_is_another(first, tmp_path):
    begun, run = Path(shutil.copytree(first, tmp_path / "begun")), tmp_path / "run"
    once = ("trainer.max_epochs=1", "seed=1", "init=begun", "hydra.run.dir=run")
    assert run_in_process("train.py", *RESIDUAL, *once, cwd=tmp_path).returncode == 0
    (tmp_path / "elsewhere").mkdir()
    again = run_in_process("train.py", f"rerun={run}", cwd=tmp_path / "elsewhere")
    assert again.returncode == 0, again.stdout
    shutil.copy(run / BEST_CHECKPOINT, begun / BEST_CHECKPOINT)
    other = run_in_process("train.py", "rerun=run", cwd=tmp_path)
    assert "Repeating run, now with init other weights in begun/checkpoints/best.ckpt" in other.stdout
    shutil.rmtree(begun)
    gone = run_in_process("train.py", "rerun=run", cwd=tmp_path)
    assert (gone.returncode, gone.stderr.count("\n")) == (2, 1)
    assert "begun: there is no such run" in gone.stderr


def test_a_network_trained_in_ones_own_loop_is_saved_for_all_programs(tmp_path):
    network = capsnet.CapsNet(conv_channels=4, primary_capsules=2, routing_iters=5)
    names, settings = tuple("abcdefghij"), ("model.conv_channels=4", "model.primary_capsules=2")
    for wrong in ((), settings):  # another shape; the same shapes, but three iterations
        with pytest.raises(ConfigError, match="give"):
            capsnet.save(network, tmp_path / "run", names, *wrong)
    capsnet.save(network, tmp_path / "run", names, *settings, "routing.iters=5", "data=digits")
    images = torch.rand(3, 1, 28, 28)
    assert torch.equal(capsnet.load(tmp_path / "run").predict(images).labels, network.eval()(images).scores.argmax(1))
    assert run_in_process("evaluate.py", "run=run", "figures=false", cwd=tmp_path).returncode == 0
    assert (tmp_path / "run" / BEST_CHECKPOINT).is_file()
    with pytest.raises(CheckpointError, match=r"has no .*last.ckpt to go on from; begin a new run with init="):
        resumed(tmp_path / "run", {"trainer.max_epochs": "20"})


def test_saving_that_is_interrupted_leaves_nothing_in_the_way(tmp_path, monkeypatch):
    network, names, settings = capsnet.CapsNet(conv_channels=4), tuple("abcdefghij"), ("model.conv_channels=4",)
    with monkeypatch.context() as broken:
        broken.setattr(torch, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            capsnet.save(network, tmp_path / "run", names, *settings)
    assert capsnet.save(network, tmp_path / "run", names, *settings, image_shape=[1, 28, 28]) == tmp_path / "run"
    assert capsnet.load(tmp_path / "run").predict(torch.rand(1, 1, 28, 28)).labels.shape == (1,)


def interrupted(content, path):
    path.write_bytes(b"half of it")
    raise KeyboardInterrupt


def test_lines_are_printed_once_where_the_scripts_own_logging_shows_them(capsys, monkeypatch):
    shown = logging.StreamHandler(sys.stdout)
    monkeypatch.setattr(logging.getLogger(), "handlers", [shown])
    with _lines_shown():
        logging.getLogger("capsnet.training").info("epoch 1")
    assert capsys.readouterr().out == "epoch 1\n"


def test_runs_and_sweeps_are_listed_with_name_network_data_metric_and_status(first):
    outputs = first.parents[1]
    done = run_in_process("capsnet.runs", str(outputs), "--tag", "b", cwd=outputs)
    _, line = done.stdout.splitlines()
    for part in (first.name, "first", "res_capsnet", "digits", "val/accuracy", "completed"):
        assert part in line
    assert "has no runs with the tag c" in run_in_process("capsnet.runs", ".", "--tag", "c", cwd=outputs).stderr
