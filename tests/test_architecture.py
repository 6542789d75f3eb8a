"""Claims about the structure of the package: imports run one way, and what must be quick loads nothing that is slow."""

import ast
import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from conftest import REPO

import capsnet
from capsnet import dynamic_routing, margin_loss

PACKAGE = REPO / "capsnet"

LAYERS = (
    *("cli", "explorer", "sweeps", "training", "reports", "runs", "settings", "tasks", "metrics", "data", "augment"),
    *("networks", "routing", "losses", "output", "files", "text", "errors", "shipped"),
)
"""From top to bottom; a module may import from its own layer and from those below.

Above all are the programs: modules beside the layers, such as `predict.py`, and every `__main__.py`. They use
what `cli` has for all command lines.
"""

PROGRAMS = "programs"

MODULES = {path.relative_to(PACKAGE).with_suffix("").parts: path for path in sorted(PACKAGE.rglob("*.py"))}
"""Every module by its names below `capsnet`; of a package, the last one is __init__."""


def layer(names: tuple[str, ...]) -> str:
    """The layer of a module, by its names below `capsnet`."""
    if names[0] in LAYERS and names[-1] != "__main__":
        return names[0]
    assert len(names) == 1 or names[-1] == "__main__", f"{'/'.join(names)}: belongs to no layer"
    return PROGRAMS


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All of a syntax tree, functions included, but not what only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from nodes(node)


def imports(names: tuple[str, ...]) -> set[tuple[str, ...]]:
    """The modules of the package that a module imports, when it is loaded or later."""
    imported = set()
    for node in nodes(ast.parse(MODULES[names].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ("capsnet", *names[: len(names) - node.level]) if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            targets = [(*base, alias.name) for alias in node.names]
        else:
            continue
        imported |= {module(target[1:]) for target in targets if target[0] == "capsnet"}
    return imported


def module(target: tuple[str, ...]) -> tuple[str, ...]:
    """The module that something imported is, or is in."""
    while target not in MODULES and (*target, "__init__") not in MODULES:
        target = target[:-1]
    return target if target in MODULES else (*target, "__init__")


@pytest.mark.parametrize("names", MODULES, ids="/".join)
def test_a_module_imports_only_from_its_own_layer_and_from_those_below(names):
    order = (PROGRAMS, *LAYERS)
    own = order.index(layer(names))
    for target in imports(names):
        assert order.index(layer(target)) >= own, f"imports {'.'.join(target)}, which is above"


def test_no_modules_import_each_other_in_a_circle():
    edges = {names: imports(names) - {names} for names in MODULES}
    while leaves := [names for names, targets in edges.items() if not targets & edges.keys()]:
        for names in leaves:
            del edges[names]
    assert not edges


def test_routing_can_be_copied_out_of_the_project(tmp_path, monkeypatch):
    shutil.copytree(PACKAGE / "routing", tmp_path / "copied_routing")
    monkeypatch.syspath_prepend(tmp_path)
    u, weight = torch.randn(2, 6, 4), torch.randn(3, 6, 4, 5)
    copied = importlib.import_module("copied_routing.dynamic").dynamic_routing
    assert torch.equal(copied(u, weight), dynamic_routing(u, weight))


def test_the_margin_loss_can_be_copied_out_of_the_project():
    tree = ast.parse((PACKAGE / "losses.py").read_text(encoding="utf-8"))
    copied = [node for node in tree.body if getattr(node, "name", "") in ("margin_loss", "_at_least_float32")]
    names = {"torch": torch, "Tensor": torch.Tensor}
    exec(compile(ast.Module(copied, []), "copied", "exec"), names)
    lengths, labels = torch.rand(4, 3), torch.tensor([0, 1, 2, 2])
    assert torch.equal(names["margin_loss"](lengths, labels), margin_loss(lengths, labels))


def test_every_name_of_the_library_can_be_imported_and_is_known_to_type_checkers():
    assert all(hasattr(capsnet, name) for name in capsnet.__all__)
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    assert sorted(alias.asname for line in block.body for alias in line.names) == sorted(capsnet.__all__)


def loaded_by(code: str, *packages: str) -> set[str]:
    """Which of these packages a piece of code loads."""
    code += f"\nimport sys; print(*sorted({set(packages)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO)
    return set(done.stdout.split())


def test_the_library_needs_neither_hydra_nor_lightning():
    code = "from capsnet import CapsNet, Output, Source, dynamic_routing, squash, margin_loss, setting"
    assert loaded_by(code, "hydra", "pytorch_lightning", "torchvision", "matplotlib") == set()


def test_checking_settings_and_showing_help_loads_no_torch():
    code = "import train, evaluate, capsnet.settings.plugins, capsnet.settings.reference, hydra_plugins.capsnet"
    assert loaded_by(code, "torch", "numpy", "sklearn", "matplotlib") == set()
