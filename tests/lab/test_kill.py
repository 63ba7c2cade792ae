"""A study that is killed at any moment goes on to the same bits, and its store is never corrupt."""

import os
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

STUDY = Path(__file__).with_name("study_to_kill.py")


def begun(*args):
    environment = {**os.environ, "JAX_ENABLE_X64": "0"}
    return subprocess.Popen([sys.executable, str(STUDY), *args], stdout=subprocess.PIPE, text=True, env=environment)


def killed(tmp_path, times):
    """The study's last line where it was killed so many times, and where it was left alone."""
    store, draws, shares = tmp_path / "runs.sqlite", random.Random(0), [0.0]
    for _ in range(times):
        process = begun(str(store))
        for _ in range(draws.randint(1, 3)):  # as many pieces later, and then at any moment of the next
            shares.append(float(process.stdout.readline()))
        time.sleep(draws.uniform(0, 0.02))
        process.kill()
        process.wait()
        process.stdout.close()
        connection = sqlite3.connect(store)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
    assert 0 < max(shares) < 1
    ended = [begun(str(store)), begun()]
    said = [process.communicate(timeout=600)[0].splitlines() for process in ended]
    assert [process.returncode for process in ended] == [0, 0]
    assert float(said[0][1]) > 0  # it found what was kept
    return said[0][-1], said[1][-1]


def test_a_study_killed_three_times_ends_as_it_would_have(tmp_path):
    resumed, whole = killed(tmp_path, 3)
    assert resumed == whole


@pytest.mark.slow
def test_a_study_killed_twenty_times_ends_as_it_would_have(tmp_path):
    resumed, whole = killed(tmp_path, 20)
    assert resumed == whole
