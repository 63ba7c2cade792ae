"""The command line. Each command is one library call and the printing of what it returns.

What a command needs is imported inside it, so that `optiscope --help` answers at once.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import click

from . import console
from .console import dumps, short, vector
from .errors import BadInput

if TYPE_CHECKING:
    from .lab.compare import Comparison
    from .tasks.landscapes import Landscape

OUT = "optiscope-out"


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
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone; point stdout elsewhere so that the interpreter's last flush does not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        click.echo(f"optiscope: {error.filename or 'a file'}: {error.strerror or error}", err=True)
        sys.exit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="optiscope")
def cli() -> None:
    """Optiscope: every optimizer is one kind of object. Use it, see it, compare it."""


def common(command: Callable) -> Callable:
    """The options that every command takes."""
    for option in (
        click.option("--out", default=OUT, show_default=True, help="Folder for results and pictures."),
        click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1), help="First seed."),
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and nothing else, on stdout."),
    ):
        command = option(command)
    return command


@cli.command("rules")
@click.argument("name", required=False)
@common
def rules_command(name: str | None, as_json: bool, seed: int, out: str) -> None:
    """List the rules, or describe one: its formula, fields, search spaces and presets."""
    from . import rules

    made = [rules.rule(n) for n in ([name] if name else rules.names())]
    if as_json:
        console.print_json([_rule_facts(rule) for rule in made])
    elif name:
        _print_rule(made[0])
    else:
        console.table(["rule", "what it is"], [[rule.name, _headline(rule)] for rule in made])


def _space_text(space: Any) -> str:
    return f"{type(space).__name__}({space.low:g}, {space.high:g})"


def _headline(thing: Any) -> str:
    return (thing.__doc__ or "").strip().splitlines()[0]


def _rule_facts(rule: Any) -> dict[str, Any]:
    spaces = {k: {"kind": type(s).__name__, "low": s.low, "high": s.high} for k, s in rule.hypers().items()}
    return {
        "name": rule.name,
        "aliases": list(rule.aliases),
        "summary": _headline(rule),
        "hyperparameters": {k: {"default": getattr(rule, k), "space": space} for k, space in spaces.items()},
        "variants": {k: list(choices) for k, choices in rule.variants().items()},
        "presets": {k: dict(v) for k, v in rule.presets.items()},
    }


def _print_rule(rule: Any) -> None:
    import inspect

    facts = _rule_facts(rule)
    aliases = f" (also {', '.join(rule.aliases)})" if rule.aliases else ""
    click.echo(f"{rule.name}{aliases}\n\n{inspect.getdoc(rule)}\n")
    rows = [
        [k, str(h["default"]), f"{h['space']['kind']}({h['space']['low']:g}, {h['space']['high']:g})"]
        for k, h in facts["hyperparameters"].items()
    ]
    rows += [[k, str(choices[0]), " | ".join(map(str, choices))] for k, choices in facts["variants"].items()]
    console.table(["field", "default", "search space or choices"], rows)
    for framework, settings in facts["presets"].items():
        click.echo(f"as in {framework}: " + (", ".join(f"{k}={v}" for k, v in settings.items()) or "the defaults"))


@cli.command("tasks")
@click.argument("name", required=False)
@common
def tasks_command(name: str | None, as_json: bool, seed: int, out: str) -> None:
    """List the tasks, or describe one: its settings, optimum and stationary points."""
    from . import tasks

    facts = [_task_facts(n, whole=bool(name)) for n in ([name] if name else tasks.names())]
    if as_json:
        console.print_json(facts)
    elif not name:
        console.table(["task", "what it is"], [[f["name"], f["summary"]] for f in facts])
    else:
        (fact,) = facts
        click.echo(f"{fact['name']}: {fact['summary']}\n")
        click.echo("settings: " + (", ".join(f"{k}={v}" for k, v in fact["settings"].items()) or "none"))
        click.echo(f"steps unless told otherwise: {fact['steps']}")
        click.echo(f"least loss: {'not known' if fact['optimum'] is None else format(fact['optimum'], '.6g')}")
        points = fact["stationary_points"]
        if points:
            click.echo(f"\nstationary points ({len(points)}):")
            rows = [[p["kind"], ", ".join(f"{v:.6g}" for v in p["x"]), f"{p['value']:.6g}"] for p in points]
            console.table(["kind", "at", "value"], rows)


def _task_facts(name: str, *, whole: bool) -> dict[str, Any]:
    import dataclasses
    import inspect

    from . import tasks

    make, task = tasks.factory(name), tasks.task(name)
    facts: dict[str, Any] = {"name": task.name, "summary": _headline(make)}
    if whole:
        parameters = inspect.signature(make).parameters.values()
        facts["settings"] = {p.name: p.default for p in parameters}
        facts["steps"], facts["optimum"] = task.steps, task.optimum
        seen = isinstance(task, tasks.Landscape) and task.n <= 2
        facts["stationary_points"] = [dataclasses.asdict(p) for p in tasks.stationary_points(task)] if seen else []
    return facts


@cli.command()
@click.argument("task")
@click.option("--rules", "chosen", help="Rules: adam,momentum:lr=0.01,nadam. All by default.")
@click.option("--batch", help="Rows a step sees: a number, or 'all'.")
@click.option("--steps", type=int, help="Steps; the task's own number by default.")
@click.option("--seeds", default=128, show_default=True, type=click.IntRange(1, 2**20), help="Runs of each rule.")
@click.option("--target", type=float, help="The loss that counts as reached.")
@click.option("--defaults", is_flag=True, help="Keep the default learning rates instead of choosing one for each rule.")
@click.option("--dtype", default="float32", show_default=True, help="float32 or float64.")
@common
def compare(
    task: str,
    chosen: str | None,
    batch: str | None,
    steps: int | None,
    seeds: int,
    target: float | None,
    defaults: bool,
    dtype: str,
    as_json: bool,
    seed: int,
    out: str,
) -> None:
    """Compare rules on TASK: who wins, by how much, and whether that is significant.

    Each rule's learning rate is first chosen from a log grid on separate seeds, unless the rule is given with one, as
    in adam:lr=0.01. All rules then run on the same seeds: same starts, same batches.
    """
    from . import atomic, lab, rules, tasks

    settings = _batch_setting(batch)
    made = tasks.task(task, **settings)
    folder = atomic.folder(out)
    contenders = _split(chosen) if chosen else rules.names()
    with console.progress(len(contenders), quiet=as_json) as tell:
        found = lab.compare(
            contenders,
            made,
            steps=steps,
            seeds=range(seed, seed + seeds),
            target=target,
            choose=not defaults,
            dtype=dtype,
            progress=tell,
        )
    from . import view

    stem = f"compare-{made.name}"
    picture = view.save(view.loss_curves(found), folder / f"{stem}.png")
    facts = {
        "task": made.name,
        "settings": settings,
        "steps": found.steps,
        "seeds": [seed, seed + seeds - 1],
        "dtype": dtype,
        "optimum": made.optimum,
        "target": found.target,
        "sentence": found.sentence,
        "rules": found.table,
        "picture": str(picture),
    }
    with atomic.replacing(folder / f"{stem}.json") as temporary:
        temporary.write_text(dumps(facts))
    if as_json:
        console.print_json(facts)
    else:
        _print_comparison(found, seeds)
        click.echo(f"\n{found.sentence}\n\nloss curves: {picture}\nall numbers: {folder / stem}.json")


def _print_comparison(found: Comparison, seeds: int) -> None:
    scores, facts = [], []
    for row in found.table:
        lr = "–" if row["lr"] is None else f"{row['lr']:.2g}" + ("!" if row["lr_at_edge"] else "")
        mean = f"{short(row['mean'])} ± {short(row['standard_error'], 2)}"
        middle = f"{short(row['iqm'])} [{short(row['low'])}, {short(row['high'])}]"
        scores.append([row["rule"], lr, mean, short(row["median"]), middle])
        reached = f"{short(row['steps_to_target'])} ({row['reached_target']})"
        times = f"{row['run_seconds']:.2f} + {row['compile_seconds']:.1f}"
        p = "" if row["p"] is None else "<0.001" if row["p"] < 0.001 else f"{row['p']:.3f}"
        facts.append([row["rule"], str(row["diverged"]), reached, times, p, row["verdict"]])
    floor = found.task.optimum
    least = "" if floor is None else f"; the least there is {floor:.6g}"
    click.echo(f"{found.task.name}: loss after {found.steps} steps, {seeds} seeds{least}\n")
    console.table(["rule", "lr", "mean ± s.e.", "median", "IQM [95 %]"], scores)
    console.table(["rule", "diverged", "steps to target", "run + compile, s", "p", "against the best"], facts)
    click.echo(
        "\nIQM: interquartile mean, with its bootstrap interval. A run that diverged counts as ∞. "
        f"Target: {found.target:.6g}; the median over seeds, and how many of {seeds} got there. "
        "p: paired Wilcoxon test against the best, Holm-adjusted."
    )
    if any(row["lr_at_edge"] for row in found.table):
        click.echo("lr!: the best rate is at the edge of the grid; a better one may lie outside.")


@cli.command()
@click.argument("rule")
@click.argument("task")
@click.option("--trials", default=2500, show_default=True, type=click.IntRange(1, 2**20), help="Settings to try.")
@click.option("--seeds", default=128, show_default=True, type=click.IntRange(1, 2**20), help="Runs of each setting.")
@click.option("--batch", help="Rows a step sees: a number, or 'all'.")
@click.option("--steps", type=int, help="Steps; the task's own number by default.")
@click.option("--score", default="final", show_default=True, help="final, or mean: of the losses, over the first.")
@common
def tune(
    rule: str,
    task: str,
    trials: int,
    seeds: int,
    batch: str | None,
    steps: int | None,
    score: str,
    as_json: bool,
    seed: int,
    out: str,
) -> None:
    """Find the best settings of RULE on TASK, such as: tune adam rosenbrock. Fields given as in adam:b1=0.9 stay.

    Quasi-random settings are run on the same seeds, the best 20 again on fresh ones, and the winner is chosen there.
    """
    from . import atomic, lab, tasks, view

    made = tasks.task(task, **_batch_setting(batch))
    folder = atomic.folder(out)
    with console.progress(1, quiet=as_json) as tell:
        study = lab.tune(rule, made, trials=trials, seeds=seeds, steps=steps, score=score, seed=seed, progress=tell)
    stem = f"tune-{study.best.name}-{made.name}"
    picture = view.save(view.figure(study), folder / f"{stem}.png")
    facts = {
        "rule": study.best.name,
        "task": made.name,
        "steps": study.steps,
        "seeds": seeds,
        "score": study.score,
        "best": {field: getattr(study.best, field) for field in study.settings},
        "best_score": study.best_score,
        "at_edge": list(study.at_edge),
        "searches": study.searches,
        "space": {f: {"kind": type(s).__name__, "low": s.low, "high": s.high} for f, s in study.space.items()},
        "importance": study.importance,
        "run_seconds": study.run_seconds,
        "compile_seconds": study.compile_seconds,
        "picture": str(picture),
    }
    with atomic.replacing(folder / f"{stem}.json") as temporary:
        temporary.write_text(dumps({**facts, "trials": study.trials}))
    if as_json:
        console.print_json(facts)
        return
    click.echo(f"{study.best.name} on {made.name}: {trials} settings, {seeds} seeds, {study.steps} steps\n")
    rows = [
        [f, f"{v:.4g}" + ("!" if f in study.at_edge else ""), _space_text(space), f"{share:.0%}"]
        for (f, v), space, share in zip(
            facts["best"].items(), study.space.values(), study.importance.values(), strict=True
        )
    ]
    console.table(["field", "best", "search space", "explains alone"], rows)
    click.echo(f"\n{score} score on {seeds} fresh seeds: {short(study.best_score)}")
    if study.searches > 1:
        click.echo(
            f"the best lay at an edge, so the space was extended: {study.searches} searches of {trials} settings"
        )
    if study.at_edge:
        click.echo("!: at the edge of what has a meaning, or of what was searched after two extensions.")
    click.echo(f"\npicture: {picture}\nall trials: {folder / stem}.json")


@cli.command()
@click.argument("landscape")
@click.option("--rules", "chosen", default="gd,momentum,adam", show_default=True, help="Rules, as in compare.")
@click.option("--from", "start", help="Where to start: x,y. By default a point drawn from the seed.")
@click.option("--steps", type=int, help="Steps; 200 by default.")
@click.option("--noise", type=float, help="Standard deviation of normal noise added to each gradient.")
@click.option("--defaults", is_flag=True, help="Keep the default learning rates instead of choosing one for each rule.")
@click.option("--gif", is_flag=True, help="Animate it too.")
@common
def trace(
    landscape: str,
    chosen: str,
    start: str | None,
    steps: int | None,
    noise: float | None,
    defaults: bool,
    gif: bool,
    as_json: bool,
    seed: int,
    out: str,
) -> None:
    """Draw the way of each rule over LANDSCAPE, with its minima, maxima and saddles marked.

    Each rule's learning rate is the one of a log grid that ends lowest from this start without leaving the picture,
    unless the rule is given with one, as in adam:lr=0.01.
    """
    from . import atomic, lab, view

    task = _landscape(landscape, **({} if noise is None else {"noise": noise}))
    point = None if start is None else _point(start, task.n)
    folder = atomic.folder(out)
    contenders = _split(chosen)
    with console.progress(len(contenders), quiet=as_json) as tell:
        walks = lab.walks(contenders, task, start=point, steps=steps, seed=seed, choose=not defaults, progress=tell)
    ways = [view.trace(contender.label, runs) for contender, runs in walks]
    picture = view.save(view.trajectories(task, ways), folder / f"trace-{task.name}.png")
    moving = view.animation(task, ways, folder / f"trace-{task.name}.gif") if gif else None
    facts = [
        {
            "rule": contender.label,
            "lr": getattr(contender.rule, "lr", None),
            "start": runs.params[0, 0].tolist(),
            "end": runs.params[0, -1].tolist(),
            "value": float(runs.loss[0, -1]),
            "diverged": bool(runs.diverged[0]),
        }
        for contender, runs in walks
    ]
    files = {"picture": str(picture), "animation": str(moving) if moving else None}
    if as_json:
        console.print_json({"landscape": task.name, "noise": noise, "rules": facts, **files})
    else:
        rows = [
            [f["rule"], "–" if f["lr"] is None else f"{f['lr']:.2g}", vector(f["end"]), short(f["value"]),
             "diverged" if f["diverged"] else ""]
            for f in facts
        ]  # fmt: skip
        click.echo(f"{task.name} from {vector(facts[0]['start'])}")
        console.table(["rule", "lr", "ends at", "value", ""], rows)
        click.echo("\n" + "\n".join(f"{kind}: {file}" for kind, file in files.items() if file))


@cli.command()
@click.argument("landscape")
@click.option("--method", default="bfgs", show_default=True, help="newton, newton-cg, cg, bfgs, lbfgs or gd.")
@click.option("--from", "start", help="Where to start: x,y. By default a point drawn from the seed.")
@click.option("--iterations", default=1000, show_default=True, type=click.IntRange(1, 10**7), help="At most so many.")
@common
def minimize(
    landscape: str, method: str, start: str | None, iterations: int, as_json: bool, seed: int, out: str
) -> None:
    """Find a minimum of LANDSCAPE with a solver: a method that may call the function more than once a step."""
    import jax
    import numpy as np

    from . import solvers

    task = _landscape(landscape)
    with jax.enable_x64(True):
        point = np.array(_point(start, task.n) if start else task.sample(jax.random.key(seed)).start)
    found = solvers.minimize(task.function, point, method=method, max_iterations=iterations)
    facts = {
        "landscape": task.name,
        "method": method,
        "start": point.tolist(),
        "x": np.asarray(found.x).tolist(),
        "value": float(found.value),
        "gradient_norm": float(found.gradient_norm),
        "status": found.status.name,
        "iterations": int(found.iterations),
        "evaluations": {name: int(count) for name, count in found.evaluations._asdict().items()},
    }
    if as_json:
        console.print_json(facts)
        return
    click.echo(f"{task.name} from {vector(facts['start'])} by {method}: {found.status}")
    click.echo(f"x = {vector(facts['x'])}, value {short(facts['value'])}, gradient {short(facts['gradient_norm'])}")
    calls = ", ".join(f"{count} {name}" for name, count in facts["evaluations"].items() if count)
    click.echo(f"{facts['iterations']} iterations; evaluations: {calls}")


@cli.command()
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
    from . import atomic, view
    from .solvers import formula
    from .tasks import read_columns

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


@cli.command()
@click.argument("name", required=False)
@click.option("--folder", default="benchmarks", show_default=True, help="Where the benchmarks lie.")
@common
def bench(name: str | None, folder: str, as_json: bool, seed: int, out: str) -> None:
    """Run a benchmark of the project's, from a checkout of its repository; without a name, list them."""
    import runpy
    from pathlib import Path

    found = {path.stem: path for path in sorted(Path(folder).glob("*.py"))}
    if not found:
        raise BadInput(f"no benchmarks in {folder!r}; run this from a checkout of the repository, or give --folder")
    if name is None:
        if as_json:
            console.print_json(sorted(found))
        else:
            click.echo("\n".join(found))
        return
    if name not in found:
        from .errors import unknown

        raise unknown("benchmark", name, found, "'optiscope bench'")
    module = runpy.run_path(str(found[name]))
    result = module["measure"](seed=seed)
    if as_json:
        console.print_json(result)
    else:
        click.echo(module["report"](result))


def _split(text: str) -> list[str]:
    """Rules separated by commas. A part such as `b1=0.8`, without a rule's name, is a field of the rule before it."""
    rules: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if rules and "=" in part and ":" not in part:
            rules[-1] += f",{part}"
        else:
            rules.append(part)
    return rules


def _batch_setting(text: str | None) -> dict[str, int | None]:
    if text is None:
        return {}
    if text == "all":
        return {"batch": None}
    try:
        return {"batch": int(text)}
    except ValueError:
        raise BadInput(f"--batch takes a whole number of rows or 'all', not {text!r}") from None


def _landscape(name: str, **settings: Any) -> Landscape:
    from . import tasks

    if not isinstance(tasks.task(name), tasks.Landscape):
        raise BadInput(f"{name} is no landscape; 'optiscope tasks' lists them, such as rosenbrock")
    return cast("Landscape", tasks.task(name, **settings))


def _starts(text: str) -> dict[str, float]:
    starts = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        try:
            starts[name] = float(number)
        except ValueError:
            raise BadInput(f"--start takes name=number pairs, such as b1=1,b2=0.5, not {part.strip()!r}") from None
    return starts


def _point(text: str, n: int) -> list[float]:
    try:
        point = [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"--from takes numbers separated by commas, such as -1.5,1.5, not {text!r}") from None
    if len(point) != n:
        raise BadInput(
            f"--from needs {n} number{'s' if n > 1 else ''} on this landscape, not the {len(point)} of {text!r}"
        )
    if not all(map(math.isfinite, point)):
        raise BadInput(f"--from needs finite numbers, not {text!r}")
    return point
