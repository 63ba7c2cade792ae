"""`optiscope fit`: a formula fitted to the columns of a file."""

from __future__ import annotations

import click

from .. import console
from ..console import short
from ..errors import BadInput
from .options import common


@click.command()
@click.argument("data")
@click.option("--model", required=True, help="A formula in columns and parameters: 'b1*(1-exp(-b2*x))'.")
@click.option("--start", required=True, help="Where each parameter starts: b1=1,b2=1.")
@click.option("--response", default="y", show_default=True, help="The column that the formula gives.")
@click.option("--method", default="lm", show_default=True, help="lm, gauss-newton or dogleg.")
@common
def fit(data: str, model: str, start: str, response: str, method: str, as_json: bool, seed: int, out: str) -> None:
    """Fit a formula to the columns of DATA, a CSV file, by least squares: parameters with standard errors.

    The formula is parsed, never run as code.
    """
    from .. import atomic, view
    from ..solvers import formula
    from ..tasks import read_columns

    columns = read_columns(data)
    folder = atomic.folder(out)
    found = formula.fit(model, columns, _starts(start), response=response, method=method)
    status = found.solution.status
    against = next((name for name in found.formula.names if name in columns), None)
    files = {}
    if against is not None:
        files["picture"] = str(view.save(view.fitted(found, against, columns), folder / "fit.png"))
    facts = {
        "model": model,
        "response": response,
        "rows": len(found.fitted),
        "parameters": found.parameters,
        "standard_errors": found.errors,
        "residual_standard_deviation": found.deviation,
        "status": status.name,
        "iterations": int(found.solution.iterations),
        "residuals": found.residuals.tolist(),
        **files,
    }
    if as_json:
        console.print_json(facts)
        return
    click.echo(f"{response} = {model}, {len(found.fitted)} rows: {status}\n")
    rows = [[name, f"{v:.10g}", f"{found.errors[name]:.4g}"] for name, v in found.parameters.items()]
    console.table(["parameter", "value", "standard error"], rows)
    largest = max(abs(r) for r in facts["residuals"])
    click.echo(f"\nresidual standard deviation {short(found.deviation)}, largest residual {short(largest)}")
    for kind, file in files.items():
        click.echo(f"{kind}: {file}")


def _starts(text: str) -> dict[str, float]:
    starts: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        if name in starts:
            raise BadInput(f"--start gives {name} twice; give each parameter once")
        try:
            starts[name] = float(number)
        except ValueError:
            raise BadInput(f"--start takes name=number pairs, such as b1=1,b2=0.5, not {part.strip()!r}") from None
    return starts
