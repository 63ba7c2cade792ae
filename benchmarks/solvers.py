"""The solvers beside SciPy's and Optimistix's: NIST's certified fits, and the problems of Moré, Garbow & Hillstrom.

Contenders take turns in one process with one BLAS thread, and a time is a ratio of medians. Optimistix is left out
where it is not installed.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import functools
import importlib.util
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "solvers"))
import mgh
import nist

import optiscope as osc
import optiscope.solvers as solvers

OPTIMISTIX = importlib.util.find_spec("optimistix") is not None
ROUNDS = 15
SMALL = 10
"""Unknowns up to which SciPy is to be beaten tenfold."""
BUDGETS, RATES = (500, 5_000, 20_000), (0.003, 0.01, 0.03, 0.1)
"""Gradients that a network may be trained with, and Adam's rates."""


def measure(seed: int = 0) -> dict[str, Any]:
    """Every table, JSON-able. The seed draws the starts of the batch."""
    with jax.enable_x64(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "nist": certified(),
            "solved": solved(),
            "speed": speed(),
            "batch": batch(seed),
            "first call seconds": first_calls(),
            "networks": {"fit": network_fits(seed), "airfoil": network_on_airfoil(seed)},
        }


def certified() -> dict[str, Any]:
    """How many of the 54 fits reach six digits, and how many standard errors four."""
    names = ["optiscope lm", "scipy lm", "scipy trf", *(["optimistix lm"] if OPTIMISTIX else [])]
    rows = []
    for name in nist.MODELS:
        c = nist.certified(name)
        x, y = c.data
        residual = lambda b, c=c, x=x, y=y: c.model(b, x) - y  # noqa: E731
        f, J = jax.jit(residual), jax.jit(jax.jacfwd(residual))
        runs: dict[str, Callable[[Any], Any]] = {
            "optiscope lm": lambda b, r=residual: solvers.least_squares(r, b).x,
            "scipy lm": lambda b, f=f, J=J: _scipy_squares(f, J, b, "lm"),
            "scipy trf": lambda b, f=f, J=J: _scipy_squares(f, J, b, "trf"),
        }
        if OPTIMISTIX:
            runs["optimistix lm"] = _optimistix_squares(residual)
        for k, start in enumerate(c.starts):
            row: dict[str, Any] = {"data": name, "start": k + 1}
            for contender, run in runs.items():
                row[contender] = round(max(nist.digits(run(start), c.parameters), -9.0), 1)
            s = solvers.least_squares(residual, start)
            row |= {
                "errors": round(max(nist.digits(s.standard_errors, c.errors), -9.0), 1),
                "status": s.status.name,
                "evaluations": int(s.evaluations.function),
            }
            rows.append(row)
    return {"rows": rows, "six digits": {n: sum(r[n] >= 6 for r in rows) for n in names}}


def solved() -> dict[str, Any]:
    """F within 1e-7 of a known minimum after at most 1000 iterations, of the 35 problems."""
    table: dict[str, Any] = {}
    for method in (*solvers.MINIMIZERS, *solvers.LEAST_SQUARES):
        squares = method in solvers.LEAST_SQUARES
        entrance = solvers.least_squares if squares else solvers.minimize
        missed, calls = [], []
        for _, problems in mgh.by_size():
            function = (mgh.residuals if squares else mgh.values)(problems)
            for i, p in enumerate(problems):
                s = entrance(function, p.start, (np.int32(i),), method=method)
                calls.append(int(s.evaluations.function))
                if not p.solved(float(s.value) * (2 if squares else 1)):
                    missed.append(p.name)
        table[method] = {"solved": len(calls) - len(missed), "missed": missed, "evaluations": _geometric(calls)}
    for method in ("BFGS", "L-BFGS-B", "CG"):
        missed, calls = [], []
        for p in mgh.PROBLEMS.values():
            s = _scipy_minimum(jax.jit(p.value), jax.jit(jax.grad(p.value)), p.start, method)
            calls.append(int(s.nfev))
            if not p.solved(s.fun):
                missed.append(p.name)
        table[f"scipy {method}"] = {
            "solved": len(calls) - len(missed),
            "missed": missed,
            "evaluations": _geometric(calls),
        }
    return table


def speed() -> dict[str, Any]:
    """Milliseconds a solve after compiling, medians, problem by problem; and the geometric means of their ratios.

    Beside SciPy stands the call as a user makes it, with its checks and its NumPy results; beside Optimistix, which
    leaves compiling to the user, both are under `jax.jit`.
    """
    rows = []
    for p in mgh.PROBLEMS.values():
        value, residual = p.value, p.residual
        f, g = jax.jit(value), jax.jit(jax.grad(value))
        r, J = jax.jit(residual), jax.jit(jax.jacfwd(residual))
        runs: dict[str, Callable[[], Any]] = {
            "bfgs": lambda p=p, v=value: solvers.minimize(v, p.start, method="bfgs"),
            "lm": lambda p=p, v=residual: solvers.least_squares(v, p.start),
            "bfgs jitted": functools.partial(_jitted(solvers.minimize, value), p.start),
            "lm jitted": functools.partial(_jitted(solvers.least_squares, residual), p.start),
            "scipy bfgs": lambda p=p, f=f, g=g: _scipy_minimum(f, g, p.start, "BFGS"),
            "scipy lm": lambda p=p, r=r, J=J: _scipy_squares(
                r, J, p.start, "lm" if r(p.start).size >= p.start.size else "trf"
            ),
        }
        if OPTIMISTIX:
            runs["optimistix bfgs"] = functools.partial(_optimistix_minimum(value), p.start)
            runs["optimistix lm"] = functools.partial(_optimistix_squares(residual), p.start)
        rows.append({"problem": p.name, "unknowns": int(p.start.size)} | _interleaved(runs))
    ratios = {}
    small = [row for row in rows if row["unknowns"] <= SMALL]
    for ours in ("bfgs", "lm"):
        for call in (ours, f"{ours} jitted"):
            ratios[f"scipy {ours} / {call}, at most {SMALL} unknowns"] = _geometric(
                [row[f"scipy {ours}"] / row[call] for row in small]
            )
        if OPTIMISTIX:
            ratios[f"{ours} / optimistix {ours}"] = _geometric(
                [row[f"{ours} jitted"] / row[f"optimistix {ours}"] for row in rows]
            )
    return {"rows": rows, "ratios": ratios}


def batch(seed: int, lanes: int = 1000) -> dict[str, Any]:
    """Rosenbrock's function from random starts in [−2, 2]²."""
    rosenbrock = mgh.PROBLEMS["rosenbrock"].value
    x0 = np.random.default_rng(seed).uniform(-2, 2, (lanes, 2))
    runs: dict[str, Callable[[], Any]] = {
        "solve_many lbfgs": lambda: solvers.solve_many(rosenbrock, x0, method="lbfgs")
    }
    if OPTIMISTIX:
        import optimistix

        solver = optimistix.LBFGS(rtol=1e-8, atol=1e-8)

        def one(x: Any) -> Any:
            return optimistix.minimise(lambda y, _: rosenbrock(y), solver, x, max_steps=2000, throw=False).value

        many = jax.jit(jax.vmap(one))
        runs["optimistix lbfgs"] = lambda: jax.block_until_ready(many(x0))  # type: ignore[no-untyped-call]
    times = _interleaved(runs)
    result: dict[str, Any] = {"lanes": lanes, "milliseconds": times}
    result["worst error"] = {"solve_many lbfgs": float(np.abs(runs["solve_many lbfgs"]().x - 1).max())}
    if OPTIMISTIX:
        result["worst error"]["optimistix lbfgs"] = float(np.abs(np.asarray(runs["optimistix lbfgs"]()) - 1).max())
        result["ratio"] = times["solve_many lbfgs"] / times["optimistix lbfgs"]
    return result


def first_calls() -> dict[str, float]:
    """Seconds of each method's first call, tracing and compiling, on Rosenbrock's function."""
    p = mgh.PROBLEMS["rosenbrock"]
    seconds = {}
    for method in (*solvers.MINIMIZERS, *solvers.LEAST_SQUARES):
        squares = method in solvers.LEAST_SQUARES
        entrance = solvers.least_squares if squares else solvers.minimize
        made: Any = (lambda x: p.residual(x)) if squares else (lambda x: p.value(x))
        begun = time.perf_counter()
        entrance(made, p.start, method=method)
        seconds[method] = time.perf_counter() - begun
    return seconds


def network_fits(seed: int, starts: int = 5) -> dict[str, list[float]]:
    """½ Σ r² of a network 1–16–1 with tanh on 200 rows after at most 2000 iterations, from random starts."""
    x = np.linspace(-2, 2, 200)
    y = np.sin(3 * x) + 0.3 * x**2

    def residual(p: Any) -> Any:
        return jnp.tanh(x[:, None] * p[:16] + p[16:32]) @ p[32:48] + p[48] - y

    def half(p: Any) -> Any:
        return jnp.sum(residual(p) ** 2) / 2

    drawn = np.random.default_rng(seed).normal(size=(starts, 49))
    return {
        "lm": [float(solvers.least_squares(residual, p, max_iterations=2000).value) for p in drawn],
        "bfgs": [float(solvers.minimize(half, p, max_iterations=2000).value) for p in drawn],
    }


def network_on_airfoil(seed: int, seeds: int = 4) -> dict[str, Any]:
    """Gradients to the loss at which Adam ends on the airfoil data with a network 5–32–1, a seed each, for budgets.

    Every step sees all rows. Adam has the best of RATES on each seed by itself. None where a solver does not come there
    within the budget.
    """
    task = osc.task("airfoil-mlp", batch=None)
    found: dict[str, Any] = {}
    for steps in BUDGETS:
        rivals = {f"adam {rate}": osc.Adam(lr=rate) for rate in RATES} | {n: n for n in ("newton-cg", "lbfgs")}
        entries = osc.compare(
            rivals, task, steps=steps, seeds=range(seed, seed + seeds), dtype="float64", every=steps // 100
        ).entries
        runs = {e.contender.label: e.runs for e in entries}
        goals = np.min([runs[f"adam {rate}"].final for rate in RATES], axis=0)
        found[str(steps)] = {"adam's loss": goals.tolist()} | {
            name: [
                int(runs[name].at[np.argmax(loss <= goal)]) if (loss <= goal).any() else None
                for loss, goal in zip(runs[name].loss, goals, strict=True)
            ]
            for name in ("newton-cg", "lbfgs")
        }
    return found


def _interleaved(runs: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Each contender's median milliseconds, turn by turn."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(ROUNDS):
        for name, run in runs.items():
            begun = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - begun))
    return {name: float(np.median(t)) for name, t in times.items()}


def _scipy_minimum(f: Callable, g: Callable, x0: Any, method: str) -> Any:
    options = {"maxiter": 1000}
    return scipy.optimize.minimize(
        lambda x: float(f(x)), x0, jac=lambda x: np.asarray(g(x)), method=method, options=options
    )


def _scipy_squares(f: Callable, J: Callable, x0: Any, method: str) -> Any:
    try:
        return scipy.optimize.least_squares(
            lambda b: np.asarray(f(b)), x0, lambda b: np.asarray(J(b)), method=method, x_scale="jac", max_nfev=1000
        ).x
    except ValueError:
        # SciPy raises where a residual is not finite.
        return np.full_like(x0, np.nan)


def _jitted(entrance: Callable, function: Callable) -> Callable[[Any], Any]:
    run = jax.jit(lambda x: entrance(function, x).x)
    return lambda x: np.asarray(run(x))


def _optimistix_minimum(function: Callable) -> Callable[[Any], Any]:
    import optimistix

    solver = optimistix.BFGS(rtol=1e-8, atol=1e-8)
    run = jax.jit(lambda x: optimistix.minimise(lambda y, _: function(y), solver, x, max_steps=1000, throw=False).value)
    return lambda x: np.asarray(run(x))


def _optimistix_squares(residual: Callable) -> Callable[[Any], Any]:
    import optimistix

    solver = optimistix.LevenbergMarquardt(rtol=1e-10, atol=1e-10)
    run = jax.jit(
        lambda x: optimistix.least_squares(lambda y, _: residual(y), solver, x, max_steps=1000, throw=False).value
    )
    return lambda x: np.asarray(run(x))


def _geometric(numbers: list[float]) -> float:
    return float(np.exp(np.mean(np.log(np.maximum(numbers, 1e-300)))))


def report(result: dict[str, Any]) -> str:
    """The tables as text."""
    lines = [
        "NIST StRD, 54 fits to six digits: " + ", ".join(f"{k} {v}" for k, v in result["nist"]["six digits"].items())
    ]
    errors = sum(row["errors"] >= 4 for row in result["nist"]["rows"])
    lines += [
        f"  standard errors to four digits: {errors}",
        "",
        "Moré–Garbow–Hillstrom, solved to 1e-7 of 35 (calls, geometric mean; missed)",
    ]
    for name, row in result["solved"].items():
        lines.append(f"  {name:16s} {row['solved']:3d}  {row['evaluations']:7.1f}  {', '.join(row['missed'])}")
    lines += ["", "Time, geometric means of ratios of medians"]
    lines += [f"  {name}: {ratio:.2f}" for name, ratio in result["speed"]["ratios"].items()]
    lines += ["", f"Rosenbrock from {result['batch']['lanes']} starts, milliseconds"]
    lines += [f"  {name}: {ms:.1f}" for name, ms in result["batch"]["milliseconds"].items()]
    if "ratio" in result["batch"]:
        lines.append(f"  ratio: {result['batch']['ratio']:.2f}")
    lines += ["", "First call, seconds: " + ", ".join(f"{k} {v:.2f}" for k, v in result["first call seconds"].items())]
    lines += ["", "Network 1–16–1, ½ Σ r² at the end, a start each"]
    lines += [f"  {k}: " + ", ".join(f"{v:.3g}" for v in losses) for k, losses in result["networks"]["fit"].items()]
    lines += ["Airfoil, network 5–32–1: gradients to the loss at which Adam, at its best rate, ends, a seed each"]
    for budget, found in result["networks"]["airfoil"].items():
        lines.append(f"  Adam after {budget}: " + ", ".join(f"{loss:.4f}" for loss in found["adam's loss"]))
        lines += [f"    {k}: " + ", ".join(map(str, found[k])) for k in ("newton-cg", "lbfgs")]
    return "\n".join(lines)
