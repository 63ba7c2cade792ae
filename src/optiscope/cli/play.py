"""`optiscope play`: the playground in the browser."""

from __future__ import annotations

import click

from ..errors import BadInput


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port; by default a free one.")
@click.option("--browser/--no-browser", default=True, help="Whether to open the page.")
def play(port: int, browser: bool) -> None:
    """See optimizers move: pictures in the browser that answer while you drag.

    The page is served on this machine alone, until Ctrl-C.
    """
    try:
        from ..view.play import serve
    except ModuleNotFoundError as error:
        if error.name not in ("anyio", "starlette", "uvicorn"):
            raise
        raise BadInput(f"the playground needs {error.name}: pip install 'optiscope[play]'") from None

    def ready(address: str) -> None:
        click.echo(f"The playground is at {address} (Ctrl-C ends it)")
        if browser:
            import webbrowser

            webbrowser.open(address)

    serve(port, ready=ready)
