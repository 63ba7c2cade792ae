"""Take a rule apart: run it on a task, find where it rests, and read its mechanisms there."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from ..rules.contract import Rule
from ..rules.mechanisms import Mechanisms
from ..tasks.contract import Task
from ..tasks.quadratics import Quadratic
from .adaptation import Adaptation, adaptation
from .clipping import Clipping, clipping
from .dynamics import Dynamics, Parts, dynamics, parts
from .fixed_points import LARGEST, STARTS, FixedPoints, fixed_points
from .modes import Modes, modes
from .rest import Rest, jumps, rest
from .schedule import LearnedSchedule, schedule
from .stability import Stability, stability
from .symmetries import Symmetries, symmetries
from .verdict import Verdict, verdict
from .visits import Visits, visit

DRIFTS = 0.01
"""The step at rest, as a share of that on a typical gradient, from which it is worth a word."""
LOOKED_AT = 16
"""At how many visited states the farthest-reaching mode is read again."""


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """A rule taken apart on a task."""

    rule: Rule
    task: Task
    maps: Dynamics
    parts: Parts
    visits: Visits
    rest: Rest
    reference: int
    """The number of the step at which clocks and records are held for the modes, the clipping and the adaptation."""
    dynamics: FixedPoints
    modes: Modes | None
    """At the fixed point that most starts led to; None where there is none to be read, and a note says why."""
    projections: np.ndarray
    """Visited states less the fixed point, along the two farthest-reaching modes: (n, 2)."""
    clipping: Clipping
    schedule: LearnedSchedule
    adaptation: Adaptation
    symmetries: Symmetries
    stability: Stability | None
    verdict: Verdict
    heavy_ball: tuple[float, float] | None
    """α and β of the heavy ball that is best for the task's spectrum, where it has one."""
    notes: tuple[str, ...]
    """What could not be read, or not as usual: a sentence each."""

    @functools.cached_property
    def rebuilt(self) -> Mechanisms:
        """An ordinary rule of the mechanisms found, fitted to what the original does; it takes a minute to make."""
        from .rebuild import rebuilt

        return rebuilt(self)


def explain(rule: Rule, task: Task, *, seed: int = 0) -> Explanation:
    """Take a rule apart: its fixed points, momentum, clipping, schedule, adaptation, symmetries and stability.

    One coordinate is followed, in float64, over the states and gradients that the rule meets on the task from 32
    seeds (Maheswaranathan et al., 2021, section 4). What cannot be read is left out, and a note says why.

    Args:
        rule: any rule: hand-designed, learned, or of `from_optax`.
        task: what it is run on.
        seed: the first of the seeds.

    Raises:
        BadInput: an argument is no rule or no task, the rule cannot run on an array of one number, or it met no finite
            gradient at all.
    """
    maps = dynamics(rule)
    seen = visit(rule, task, seed)
    steps = task.steps
    told = parts(maps, seen.size)
    alone = rest(maps, told, seen.size, steps)
    plan = schedule(alone)
    t = _reference(plan, told, steps)
    held = alone.states[t - 1]
    notes = [*_notes(rule, task, maps, alone, seen)]

    found = _fixed_points(maps, told, alone, seen, held, t)
    point = next((p for p in found.points if p.stable), found.points[0] if found.points else None)
    h = held if point is None else point.h
    read = edge = None
    slow, projections = np.zeros(0), np.zeros((0, 2))
    if point is None:
        why = f"its state of {maps.size} numbers is larger than {LARGEST}" if maps.size > LARGEST else "none was found"
        notes.append(f"no fixed point: {why}; clipping and adaptation are read at the end of {steps} steps at rest")
    elif jumps(alone, h, t):
        notes.append("the step reads the sign of what is remembered, so there are no linear modes to read momentum in")
    elif np.isfinite(alone.linear(h, t).F_h).all():
        read = modes(alone.linear(h, t), told.free, h)
        slow = _slow(alone, seen, held, t)
        projections = projected(seen.states, read)
        edge = stability(alone, h, t)
    else:
        notes.append("∂F/∂h is not finite at the fixed point, so there are no linear modes to read there")
    if point is not None and abs(point.drift) > DRIFTS * abs(alone.size * plan.rates[t - 1]):
        notes.append(f"at rest it still steps by {point.drift:.3g}: it comes to lie where the gradient outweighs that")
    if found.line:
        notes.append("the fixed points form a line: what it sums up it never forgets")

    labelled = {"h₀": (alone.states[0], 1), "h*": (h, t), **_along(read, projections, t)}
    curve = adaptation(alone, h, t, seen)
    clip = clipping(alone, h, t, seen, curve, labelled)
    if curve.grows:
        names = ", ".join(curve.grows)
        notes.append(f"{names} only grows under a constant gradient; adaptation is read after {steps} steps of it")
    if curve.left_out:
        notes.append(
            f"{curve.left_out} of {curve.left_out + len(curve.grads)} constant gradients led to no fixed point"
        )
    same = symmetries(maps, seen)
    return Explanation(
        rule, task, maps, told, seen, alone, t, found, read, projections, clip, plan, curve, same, edge,
        verdict(read, slow, clip, plan, curve, same, steps), heavy_ball(task), tuple(notes),
    )  # fmt: skip


def heavy_ball(task: Task) -> tuple[float, float] | None:
    """α = 4 / (√l + √L)², β = ((√L − √l) / (√L + √l))²: Polyak's (1964) optimum for eigenvalues in [l, L], l > 0."""
    if not isinstance(task, Quadratic):
        return None
    low, high = (10.0**task.low, 10.0**task.high) if task.spectrum is None else (min(task.spectrum), max(task.spectrum))
    if low <= 0:
        return None
    a, b = float(low) ** 0.5, float(high) ** 0.5
    return 4 / (a + b) ** 2, ((b - a) / (b + a)) ** 2


def _reference(plan: LearnedSchedule, told: Parts, steps: int) -> int:
    """The last step; but a schedule that is still on its way there, or at its end, is read at its peak."""
    late = plan.rates[steps // 2 :]
    settled = not plan.present or told.records.any() or np.ptp(late) < 0.01 * abs(plan.peak)
    if settled and abs(plan.rates[-1]) >= 0.01 * abs(plan.peak):
        return steps
    # An average that begins at zero must have begun, and before the first step a record has nothing.
    return max(int(np.argmax(np.abs(plan.rates / plan.begins**2))) + 1, 1 + int(told.records.any()))


def _notes(rule: Rule, task: Task, maps: Dynamics, alone: Rest, seen: Visits) -> list[str]:
    notes = []
    if not rule.elementwise:
        notes.append(f"{rule.name} is not elementwise; it is read here as it treats an array of one number")
    if seen.diverged:
        broken = f"{seen.diverged} of {len(seen.grads)} runs on {task.name} diverged"
        notes.append(f"{broken}; what is said of the gradients met is about the steps before that")
    counted = [n for n, clock in zip(maps.names, alone.parts.clocks, strict=True) if clock]
    if counted:
        notes.append(f"{_some(counted)}: moved by time alone, held as a parameter")
    recorded = [n for n, record in zip(maps.names, alone.parts.records, strict=True) if record]
    if recorded:
        notes.append(
            f"{_some(recorded)}: blind to the gradient's sign, held at what gradients of the typical size "
            f"{alone.size:.3g} leave there; at rest itself the step has no derivative"
        )
    elif alone.probe:
        notes.append(f"the step jumps at g = 0: rates are read over gradients of ± the typical size {alone.size:.3g}")
    return notes


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} and {len(names) - 1} others"


def _fixed_points(maps: Dynamics, told: Parts, alone: Rest, seen: Visits, held: np.ndarray, t: int) -> FixedPoints:
    if maps.size > LARGEST:
        return FixedPoints((), 0, 0, False)
    if not told.free.any():
        return fixed_points(maps, held[None], held, told.free, t)
    chosen = np.random.default_rng(0).permutation(len(seen.states))[: STARTS - 2]
    starts = np.concatenate([alone.states[[0, -1]], seen.states[chosen]])
    return fixed_points(maps, starts, held, told.free, t)


def _slow(alone: Rest, seen: Visits, held: np.ndarray, t: int) -> np.ndarray:
    """β of the farthest-reaching term of the rule linearised at visited states, what is not free being held."""
    chosen = np.random.default_rng(1).permutation(len(seen.states))[:LOOKED_AT]
    states = np.where(alone.parts.free, seen.states[chosen], held)
    if not len(states) or not alone.parts.free.any():
        return np.zeros(0)
    linear = alone.linear(states, t)
    found = []
    for i, state in enumerate(states):
        one = type(linear)(*(x[i : i + 1] for x in linear))
        if np.isfinite(one.F_h).all():
            found.append(max(modes(one, alone.parts.free, state).terms, key=lambda term: term[0] > 0)[0])
    return np.array(found)


def projected(states: np.ndarray, read: Modes) -> np.ndarray:
    """Coordinates of states along the real directions of the two farthest-reaching modes, by least squares."""
    basis = np.zeros((states.shape[1], 2))
    directions = [part for m in read.modes for part in (m.right.real, m.right.imag) if part.any()]
    for column, direction in enumerate(directions[:2]):
        basis[:, column] = direction
    return np.linalg.lstsq(basis, (states - read.h).T, rcond=None)[0].T


def _along(read: Modes | None, projections: np.ndarray, t: int) -> dict[str, tuple[np.ndarray, int]]:
    """The fixed point moved along its farthest-reaching mode by a standard deviation of the visited states."""
    if read is None or not len(projections) or not read.modes:
        return {}
    top = next((m for m in read.modes if m.right.any()), None)
    if top is None:
        return {}
    far = float(projections[:, 0].std())
    return {
        f"h* {'+' if s > 0 else '−'} σ along the slow mode": (read.h + s * far * top.right.real, t) for s in (-1, 1)
    }
