"""Claims about the structure of the package: imports run one way, and what must be quick loads nothing that is slow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO

PACKAGE = REPO / "capsnet"

LAYERS = (
    *("cli", "sweeps", "training", "explorer", "reports", "runs", "data", "augment", "networks", "routing"),
    *("losses", "output", "settings", "files", "text", "errors"),
)
"""From top to bottom; a module may import from its own layer and from those below. The commands are above all."""

TOP = "commands"


def layer(parts: tuple[str, ...]) -> str:
    return parts[0] if parts and parts[0] in LAYERS else TOP


def imports_at_start(path: Path) -> set[tuple[str, ...]]:
    """What of the package a module imports when it is loaded, each as a path of names below `capsnet`."""
    package = path.relative_to(PACKAGE).parts[:-1]
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else None
            names = tuple(node.module.split(".")) if node.module else ()
            if base is None and names[:1] == ("capsnet",):
                base, names = (), names[1:]
            if base is not None:
                found |= {(*base, *names)} if names else {(*base, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {tuple(a.name.split("."))[1:] for a in node.names if a.name.split(".")[0] == "capsnet"}
    return found


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_its_own_layer_and_from_those_below(path):
    own = layer(tuple(part.removesuffix(".py") for part in path.relative_to(PACKAGE).parts))
    height = {name: len(LAYERS) - place for place, name in enumerate(LAYERS)} | {TOP: len(LAYERS) + 1}
    for names in imports_at_start(path):
        if names:
            assert height[layer(names)] <= height[own], f"imports {'.'.join(names)}, which is above"


def test_no_modules_import_each_other_in_a_circle():
    modules = {tuple(path.relative_to(PACKAGE).with_suffix("").parts): path for path in MODULES}
    edges = {
        name: {target for target in imports_at_start(path) if target in modules} - {name}
        for name, path in modules.items()
    }
    while leaves := [name for name, targets in edges.items() if not targets & edges.keys()]:
        for name in leaves:
            del edges[name]
    assert not edges


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
