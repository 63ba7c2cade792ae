"""The command line. Each command is one library call and the printing of what it returns.

A command has a module of its own, and imports what it needs inside itself, so that `optiscope --help` answers at once.
"""

from __future__ import annotations

import os
import sys

import click

from ..errors import BadInput
from . import bench, catalogue, compare, explain, fit, gallery, minimize, play, reproduce, runs, trace, train, tune


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="optiscope")
def cli() -> None:
    """Optiscope: every optimizer is one kind of object. Use it, see it, compare it."""


for command in (
    catalogue.rules_command,
    catalogue.tasks_command,
    compare.compare,
    tune.tune,
    runs.runs,
    trace.trace,
    train.train,
    reproduce.reproduce,
    minimize.minimize,
    fit.fit,
    explain.explain,
    play.play,
    gallery.gallery,
    bench.bench,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line: bad input ends it with one sentence and exit code 2, Ctrl-C with 130."""
    try:
        cli.main(prog_name="optiscope", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BadInput as error:
        click.echo(f"optiscope: {error}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("optiscope: interrupted; no unfinished file was left behind", err=True)
        sys.stdout.flush()
        # A compiled program may still run in a thread, and would crash in an interpreter that is taken down around it.
        os._exit(130)
    except BrokenPipeError:
        # The reader of our output has gone; point stdout elsewhere so that the interpreter's last flush does not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        click.echo(f"optiscope: {error.filename or 'a file'}: {error.strerror or error}", err=True)
        sys.exit(2)
