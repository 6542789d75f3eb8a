"""Random broken overrides: each must end train.py in one line with exit code 2, before any training, leaving no file.

python tests/campaigns/overrides.py --count 1000
"""

import argparse
import contextlib
import io
import logging
import os
import string
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as fixed
from hypothesis import strategies as st

REPO = Path(__file__).parents[2]
sys.path.insert(0, str(REPO))

import train as program  # noqa: E402
from capsnet import training  # noqa: E402
from capsnet.cli import run_program  # noqa: E402
from capsnet.config import Config  # noqa: E402
from capsnet.config import settings as all_settings  # noqa: E402

program.main.__wrapped__.__module__ = "__main__"  # Hydra then looks for configs/ beside the file, as when it is run

# Little to compute, should one get as far as to build the network.
DIGITS = ("data=digits", "model.conv_channels=2", "model.primary_capsules=2", "trainer=cpu")
SETTINGS = {key: (value, entry) for key, value, entry in all_settings(Config())}
GROUPS = sorted(path.name for path in (REPO / "configs").iterdir() if path.is_dir() and path.name != "hydra")


def type_of(key):
    return str(getattr(SETTINGS[key][1].type, "__name__", SETTINGS[key][1].type))


def numbers_of(*kinds):
    return [key for key in SETTINGS if type_of(key).split(" ")[0] in kinds and "no effect" not in help_of(key)]


def help_of(key):
    return SETTINGS[key][1].metadata["help"]


words = st.text(string.ascii_lowercase, min_size=3, max_size=12)


@st.composite
def misspelt(draw):
    """A key with a letter doubled, left out or exchanged."""
    key = draw(st.sampled_from(sorted(SETTINGS)))
    at = draw(st.integers(0, len(key) - 1))
    letter = draw(st.sampled_from(string.ascii_lowercase))
    wrong = draw(
        st.sampled_from([key[:at] + key[at] + key[at:], key[:at] + key[at + 1 :], key[:at] + letter + key[at + 1 :]])
    )
    if wrong in SETTINGS or wrong in GROUPS or not wrong.replace(".", "").replace("_", "").isalpha():
        wrong = key + "x"
    return f"{wrong}={draw(st.integers(1, 9))}", ("misspelt", wrong.split(".")[0])


@st.composite
def of_the_wrong_type(draw):
    key = draw(st.sampled_from(numbers_of("int", "float", "bool")))
    meaningful = ("nan", "inf", "true", "false", "yes", "off", "null")
    values = [
        words.filter(lambda word: word not in meaningful),
        st.just("[1,2]"),
        st.just("{a:1}"),
        st.just("[]"),
        st.just("''"),
    ]
    if type_of(key).startswith("int"):
        values.append(st.floats(0.1, 0.9).map(str))
    if "None" not in type_of(key):
        values.append(st.just("null"))
    return f"{key}={draw(st.one_of(values))}", ("wrong type", key)


@st.composite
def out_of_range(draw):
    bounded = [key for key in SETTINGS if SETTINGS[key][1].metadata["bounds"]]
    key = draw(st.sampled_from(bounded))
    whole = type_of(key).startswith("int")
    side, bound = draw(st.sampled_from(sorted(SETTINGS[key][1].metadata["bounds"].items())))
    away = draw(st.integers(1, 10**6) if whole else st.floats(1e-6, 1e6))
    value = bound - away if side in ("at least", "above") else bound + away
    return f"{key}={value}", ("out of range", key)


@st.composite
def not_finite(draw):
    key = draw(st.sampled_from(numbers_of("float")))
    return f"{key}={draw(st.sampled_from(['nan', '.nan', 'inf', '-inf', '.inf', '1e999', '-1e999']))}", (
        "not finite",
        key,
    )


@st.composite
def not_an_option(draw):
    group = draw(st.sampled_from(GROUPS))
    there = {path.stem for path in (REPO / "configs" / group).glob("*.yaml")} | {"null"}
    name = draw(words.filter(lambda word: word not in there))
    return f"{group}={name}", ("no such option", group)


@st.composite
def not_a_choice(draw):
    key = draw(
        st.sampled_from(
            [key for key in SETTINGS if SETTINGS[key][1].metadata["one_of"] or SETTINGS[key][1].metadata["check"]]
        )
    )
    taken = {
        "auto",
        "true",
        "false",
        "null",
        "warn",
        "norm",
        "value",
        *map(str, SETTINGS[key][1].metadata["one_of"] or ()),
    }
    return f"{key}={draw(words.filter(lambda word: word not in taken))}", ("not one of the choices", key)


@st.composite
def added_or_removed(draw):
    word = draw(words.filter(lambda word: word not in GROUPS and word not in ("seed", "hydra")))
    key = draw(st.sampled_from(sorted(SETTINGS)))
    return draw(
        st.sampled_from(
            [
                (f"+{word}={word}", ("added", word)),
                (f"+{key.partition('.')[0]}.{word}=1", ("added", word)),
                (f"~{word}", ("removed", word)),
                (f"{key}=${{{word}.{word}}}", ("refers to nothing", "")),
                (f"{key}=${{oc.env:{word.upper()}_}}", ("refers to nothing", "")),
                (f"{key}=${{{word}:1}}", ("refers to nothing", "")),
            ]
        )
    )


garbage = (
    st.text(st.sampled_from("=[]{}()'\"\\,:$~+@# \n\tab1é日"), min_size=1, max_size=12)
    .filter(lambda text: text.strip() and not text.startswith(("#", "-")))
    .map(lambda text: (text + "(", ("garbage", "")))
)


@st.composite
def at_odds(draw):
    """Settings that cannot go together."""
    number = draw(st.integers(1, 60))
    low = draw(st.floats(0.0, 0.9))
    choices = [
        (f"data.val_size=0 early_stopping.patience={number}", "early_stopping.patience"),
        (f"loss.m_pos={low} loss.m_neg={low + 0.05}", "loss.m_neg"),
        (f"augment.cutout_size={28 + number}", "augment.cutout_size"),
        (f"data.batch_size={1617 + number} data.val_size=180", "data.batch_size"),
        (f"data.limit={100 + number} data.val_size=0 data.batch_size={101 + number}", "data.batch_size"),
        (f"data.val_size={1438 + number}", "data.val_size"),
        (f"data.limit={number % 10 + 1}", "data."),
        (
            f"trainer.max_epochs={number} trainer.check_val_every_n_epoch={number + 1}",
            "trainer.check_val_every_n_epoch",
        ),
        (f"trainer.accelerator=gpu trainer.devices={number}", "trainer"),
        (f"trainer.strategy=ddp trainer.devices={os.cpu_count() + 1 + number}", "trainer.devices"),
        (f"trainer.accelerator=tpu trainer.devices={number}", "trainer"),
        (f"trainer.num_nodes={number + 1}", "trainer.num_nodes"),
        (f"trainer.min_epochs={number + 1} trainer.max_epochs={number}", "trainer.min_epochs"),
        ("trainer.precision=16-mixed", "trainer"),
        (f"trainer.val_check_interval={1000 + number}", "trainer"),
        ("trainer.strategy=" + draw(words), "trainer"),
    ]
    text, named = draw(st.sampled_from(choices))
    return text, ("at odds", named)


broken = st.one_of(
    misspelt(),
    of_the_wrong_type(),
    out_of_range(),
    not_finite(),
    not_an_option(),
    not_a_choice(),
    added_or_removed(),
    garbage,
    at_odds(),
)


class ReachedTraining(BaseException):
    """What takes the place of the training itself."""


@dataclass
class Outcome:
    code: object
    printed: str
    errors: str
    left: list[str]


def outcome(arguments: list[str]) -> Outcome:
    """What train.py does with these arguments, in this process and an empty folder."""

    def reached(*_):
        raise ReachedTraining

    fit, training._fit = training._fit, reached
    before = sys.argv, os.environ.copy(), Path.cwd(), logging.getLogger().handlers[:]
    printed, errors = io.StringIO(), io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.chdir(folder)
            sys.argv = [str(REPO / "train.py"), *arguments]
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
                try:
                    run_program(program.main_or_again)
                    code = 0
                except SystemExit as exit:
                    code = exit.code
                except ReachedTraining:
                    code = "reached training"
                except Exception as error:
                    code = f"{type(error).__name__}: {error}"
        finally:
            training._fit = fit
            GlobalHydra.instance().clear()
            sys.argv, _, cwd, handlers = before
            os.environ.clear()
            os.environ.update(before[1])
            os.chdir(cwd)
            logging.getLogger().handlers[:] = handlers
        left = sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))
    return Outcome(code, printed.getvalue(), errors.getvalue(), left)


def hold(case: tuple[str, tuple[str, str]]) -> str:
    """Assert that a broken override ends as it should; gives its kind."""
    text, (kind, named) = case
    arguments = text.split(" ") if kind == "at odds" else [text]
    got = outcome([*DIGITS, *arguments])
    lines = got.errors.strip().splitlines()
    assert got.code == 2, (arguments, got)
    assert len(lines) == 1, (arguments, got)
    assert lines[0].startswith("Error: "), (arguments, got)
    assert named in lines[0], (arguments, named, got)
    assert got.left == [], (arguments, got)
    return kind


def campaign(count: int, seed: int) -> Counter:
    """Try so many; gives how many of each kind."""
    kinds = Counter()

    @settings(
        max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), database=None, print_blob=False
    )
    @fixed(seed)
    @given(broken)
    def every(case):
        kinds[hold(case)] += 1

    every()
    return kinds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    kinds = campaign(arguments.count, arguments.seed)
    for kind, number in sorted(kinds.items()):
        print(f"{number:6}  {kind}")
    print(f"{sum(kinds.values()):6}  broken overrides, each answered in one line with exit code 2")
