"""What `import optiscope as osc` offers, and what it costs."""

import subprocess
import sys

import pytest

import optiscope as osc


def test_every_rule_is_offered_under_its_class_name():
    for name in osc.rules.names():
        cls = type(osc.rule(name))
        if cls.__module__.startswith("optiscope."):
            assert getattr(osc, cls.__name__) is cls


def test_the_documented_surface_is_there():
    for name in (
        "rule",
        "task",
        "run",
        "sweep",
        "stack",
        "compare",
        "walks",
        "figure",
        "animation",
        "BadInput",
        "Rule",
    ):
        assert callable(getattr(osc, name))
    with pytest.raises(AttributeError, match="has no attribute 'Adamm'"):
        _ = osc.Adamm


def test_a_rule_needs_neither_jax_nor_torch():
    code = (
        "import sys, optiscope as osc; osc.Adam(lr=1e-3); sys.exit(bool({'jax', 'torch', 'keras'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_rooms_import_only_what_the_design_allows():
    """Arrows one way: each room imports the rooms below it and no others."""
    import ast
    from pathlib import Path

    base = {"errors", "values", "atomic", "spawned"}
    allowed = {
        "rules": set(),
        "solvers": set(),
        "frameworks": {"rules", "solvers"},
        "tasks": set(),
        "lab": {"rules", "solvers", "tasks"},
        "explain": {"rules", "tasks", "lab"},
        "view": {"rules", "solvers", "tasks", "lab", "learning", "explain"},
    }
    root = Path(osc.__file__).parent
    for room, below in allowed.items():
        for path in (root / room).rglob("*.py"):
            depth = len(path.relative_to(root).parts) - 1
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.level > depth:
                    targets = [node.module] if node.module else [alias.name for alias in node.names]
                    for target in targets:
                        assert target.split(".")[0] in base | below | {room}, f"{path.name} imports {target}"
