"""What `--help` says is what there is."""

import re

import pytest
from conftest import run_in_process

from capsnet.settings.config import OPTIONS, leaves
from capsnet.settings.parse import config_from_dict


def printed_help(program: str, flag: str, cwd) -> str:
    done = run_in_process(program, flag, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(cwd.iterdir())
    return done.stdout


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_training_lists_groups_options_and_keys(tmp_path, flag):
    text = printed_help("train.py", flag, tmp_path)
    for part in ("augment", "shift_cutout", "kmnist", "fashion_mnist", "routing.iters", "data.root"):
        assert part in text
    text = text.replace("\n" + 14 * " ", " ")  # of groups with many options
    for group, options in OPTIONS.items():
        (names,) = re.findall(rf"^  {group} +(.*)$", text, re.MULTILINE)
        assert set(names.split(", ")) == set(options)
    for key in re.findall(r"(?:^  |  )(\w+\.\w+)=", text, re.MULTILINE):
        if not key.startswith("train.py"):
            assert key in {leaf.key for leaf in leaves(config_from_dict({}))}, key


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_evaluation_names_only_what_it_accepts(tmp_path, flag):
    text = printed_help("evaluate.py", flag, tmp_path)
    named = set(re.findall(r"^  ([\w.]+)=", text, re.MULTILINE))
    assert named >= {"data", "data.root", "routing.iters", "plugin", "figures"}
    for key in named:
        settings = [leaf for leaf in leaves(config_from_dict({})) if f"{leaf.key}.".startswith(f"{key}.")]
        assert any(leaf.setting.evaluated for leaf in settings), key
    assert not re.search(r"\b(trainer|optimizer|augment|early_stopping|seed|sweep)\b", text)
    for option in OPTIONS["data"]:
        assert option in text


def test_without_arguments_an_evaluation_explains_itself(tmp_path):
    done = run_in_process("evaluate.py", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "python evaluate.py run=RUN_DIR" in done.stdout
