"""Starting a playground as a person does."""

import subprocess
import sys

COMMAND = [sys.executable, "-c", "from optiscope import cli; cli.main()", "play", "--no-browser"]


def start():
    """A playground of its own process, and its address once it answers."""
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return process, process.stdout.readline().split()[4]
