"""Random broken overrides: each must end train.py in one line with exit code 2, before any training, leaving no file.

python tests/campaigns/overrides.py --count 1000
"""

import argparse
import dataclasses
import string
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import seed as fixed
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import REPO, run_in_process

from capsnet.settings.config import OPTIONS, Config, fields_of
from capsnet.settings.parse import DEFAULT_OPTIONS
from capsnet.settings.setting import Setting, setting_of
from capsnet.training import run as training

# Little to compute, should one get as far as to build the network.
SMALL = ("model.conv_channels=2", "model.primary_capsules=2", "trainer=cpu")
GROUPS = sorted(path.name for path in (REPO / "configs").iterdir() if path.is_dir() and path.name != "hydra")


def all_settings() -> Iterator[tuple[str, set[type], Setting]]:
    """Every setting of the default options: its key, its types and what is known about it."""
    for entry in dataclasses.fields(Config):
        section = get_type_hints(Config)[entry.name]
        if entry.name in OPTIONS:
            found = [(f"{entry.name}.", *one) for one in fields_of(entry.name, DEFAULT_OPTIONS[entry.name])]
        elif dataclasses.is_dataclass(section):
            found = [(f"{entry.name}.", section, field) for field in dataclasses.fields(section)]
        else:
            found = [("", Config, entry)]
        for prefix, owner, field in found:
            hint = get_type_hints(owner)[field.name]
            yield prefix + field.name, set(get_args(hint)) or {hint}, setting_of(field)


SETTINGS = {key: (types, known) for key, types, known in all_settings()}
DOWNLOADED = {f"data.{field.name}" for _, field in fields_of("data", "kmnist")} - {
    f"data.{field.name}" for _, field in fields_of("data", "digits")
}
"""Settings that data=digits does not have."""


def keys_of(*types: type) -> list[str]:
    return [key for key in SETTINGS if SETTINGS[key][0] & set(types)]


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
    key = draw(st.sampled_from(keys_of(int, float, bool)))
    types = SETTINGS[key][0]
    meaningful = ("nan", "inf", "true", "false", "yes", "off", "null")
    values = [
        words.filter(lambda word: word not in meaningful),
        st.just("[1,2]"),
        st.just("{a:1}"),
        st.just("[]"),
        st.just("''"),
    ]
    if int in types:
        values.append(st.floats(0.1, 0.9).map(str))
    if type(None) not in types:
        values.append(st.just("null"))
    return f"{key}={draw(st.one_of(values))}", ("wrong type", key)


@st.composite
def out_of_range(draw):
    key = draw(st.sampled_from([key for key in SETTINGS if SETTINGS[key][1].bounds]))
    types, known = SETTINGS[key]
    side, bound = draw(st.sampled_from(sorted(known.bounds.items())))
    away = draw(st.integers(1, 10**6) if int in types else st.floats(1e-6, 1e6))
    value = bound - away if side in ("at least", "above") else bound + away
    return f"{key}={value}", ("out of range", key)


@st.composite
def not_an_option(draw):
    group = draw(st.sampled_from(GROUPS))
    there = {path.stem for path in (REPO / "configs" / group).glob("*.yaml")} | {"null"}
    name = draw(words.filter(lambda word: word not in there))
    return f"{group}={name}", ("no such option", group)


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
                (f"~{key}", ("removed", key)),
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


broken = st.one_of(
    misspelt(),
    of_the_wrong_type(),
    out_of_range(),
    not_an_option(),
    added_or_removed(),
    garbage,
)


class ReachedTraining(BaseException):
    """What takes the place of the training itself."""


def check(case: tuple[str, tuple[str, str]]) -> str:
    """Assert that a broken override ends as it should; gives its kind."""
    text, (kind, named) = case
    arguments = [text]
    if kind != "no such option" and text.lstrip("+~").partition("=")[0] not in DOWNLOADED:
        arguments = ["data=digits", *arguments]
    with tempfile.TemporaryDirectory() as folder:
        with mock.patch.object(training, "_fit", side_effect=ReachedTraining):
            done: Any = run_in_process("train.py", *SMALL, *arguments, cwd=Path(folder))
        left = sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))
    assert done.returncode == 2, done
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("Error: "), done
    assert named in line, (done, named)
    assert left == [], (done, left)
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
        kinds[check(case)] += 1

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
