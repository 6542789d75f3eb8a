"""The README and the documents say what is so: their commands compose, their examples run, their tables are current."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import REPO, run_in_process

from capsnet.settings.reference import settings_markdown

DOCUMENTS = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS_A_FOLDER = ("resume=", "rerun=", "refit=", "run=", "checkpoint=")


def blocks(document: Path, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(document.read_text(encoding="utf-8")) if found == language]


def commands(document: Path) -> list[list[str]]:
    """The commands in a document's console blocks, each split into words."""
    lines = [line for block in blocks(document, "console") for line in block.splitlines()]
    return [shlex.split(line.removeprefix("$ "), comments=True) for line in lines if line.startswith("$ ")]


TRAIN = sorted(
    {
        tuple(words[2:])
        for document in DOCUMENTS
        if document.name != "extending.md"  # its commands are run, below
        for words in commands(document)
        if words[:2] == ["python", "train.py"] and not any(word.startswith(NEEDS_A_FOLDER) for word in words)
    }
)


def test_the_readme_is_short():
    assert len((REPO / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


def test_the_documents_have_commands_to_try():
    assert len(TRAIN) >= 10


@pytest.mark.parametrize("arguments", TRAIN, ids=" ".join)
def test_every_training_command_composes(arguments, tmp_path):
    if "--help" in arguments or any(word.startswith("plugin=") for word in arguments):
        pytest.skip("nothing to compose")
    if "-m" in arguments:
        arguments = composed_alone(arguments)
    done = run_in_process("train.py", *arguments, *() if "--cfg" in arguments else ("--cfg", "job"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "seed:" in done.stdout


def composed_alone(arguments):
    """The first job of a sweep: the first of each list of values. Launchers are left out, they may not be installed."""
    alone = []
    for word in arguments:
        key, _, value = word.partition("=")
        if word == "-m" or key.startswith(("hydra", "sweep")):
            continue
        first = re.match(r"(?:[^,()\[\]]|\([^)]*\)|\[[^]]*\])*", value)[0]
        alone.append(f"{key}={first}" if "(" not in first else None)
    return [word for word in alone if word]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_to_files_of_the_project_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_the_settings_page_is_generated_from_the_settings():
    assert (REPO / "docs/settings.md").read_text(encoding="utf-8") == settings_markdown()


@pytest.mark.slow
def test_the_examples_of_how_to_extend_the_project_run_as_they_stand(tmp_path):
    document = REPO / "docs/extending.md"
    files = {}
    for block in [*blocks(document, "python"), *blocks(document, "yaml")]:
        if named := re.match(r"# file: (\S+)\n", block):
            files[named[1]] = block
    assert len(files) >= 3
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    ran = 0
    for words in commands(document):
        if words[:1] == ["python"] and words[1] in ("train.py", "evaluate.py"):
            done = run_in_process(*words[1:], cwd=tmp_path)
            assert done.returncode == 0, (words, done.stderr)
            ran += 1
    assert ran >= 3


@pytest.mark.slow
def test_the_examples_of_how_to_use_the_library_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    examples = blocks(REPO / "docs/library.md", "python")
    assert len(examples) >= 6
    for example in examples:
        exec(compile(example, "docs/library.md", "exec"), names)
