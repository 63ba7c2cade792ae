"""Every snippet of README runs as it stands: the Python blocks one after another, the commands that are Optiscope's."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from optiscope import cli
from optiscope.explain import rebuild

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
COMMANDS = [
    line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines() if line.startswith("optiscope")
]


def test_python_blocks_run_in_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = [block for kind, block in BLOCKS if kind == "python"]
    assert len(blocks) >= 5
    names: dict = {"__name__": "readme"}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "curves.png").stat().st_size > 0
    assert names["runs"].params.shape == (1, 201, 2)
    assert names["scores"].final.shape == (100, 16)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(command, tmp_path, monkeypatch, capsys):
    # A proof fits six rules, for minutes; that it finds what it should is for the slow tests.
    monkeypatch.setattr(rebuild, "PROBLEMS", 64)
    monkeypatch.setattr(rebuild, "TRIES", 6)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    cli.main()
    assert "optiscope-out" in capsys.readouterr().out
    assert list((tmp_path / "optiscope-out").glob("*.png"))
