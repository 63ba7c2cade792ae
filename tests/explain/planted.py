"""Rules of the tests' own whose mechanisms are known."""

import jax.numpy as jnp
import numpy as np

import optiscope as osc
from optiscope.rules import Rule
from optiscope.tasks import Landscape
from optiscope.values import value


@value
class AggregatedMomentum(Rule):
    """Aggregated momentum (Lucas et al., 2019): the mean of velocities that decay each at a rate of its own."""

    name = "aggregated momentum"
    lr: float = 0.01
    betas: tuple = (0.5, 0.9, 0.99)

    def init(self, param, xp):
        return {"v": xp.stack([xp.zeros_like(param)] * len(self.betas), -1)}

    def update(self, grad, state, param, t, xp):
        v = xp.stack([b * state["v"][..., i] + grad for i, b in enumerate(self.betas)], -1)
        return -self.lr * xp.sum(v, -1) / len(self.betas), {"v": v}


@value
class LinearRule(Rule):
    """h ← A h + B g, step = − w·h."""

    A: np.ndarray
    B: np.ndarray
    w: np.ndarray
    name = "linear"

    def init(self, param, xp):
        return {"h": xp.stack([xp.zeros_like(param)] * len(self.B), -1)}

    def update(self, grad, state, param, t, xp):
        h = state["h"] @ self.A.T + grad[..., None] * self.B[None, :]
        return -(h @ self.w), {"h": h}


def small_gru(units=12, seed=0):
    """A recurrent network with a readout that was not trained, but moves."""
    rule = osc.rules.GRU.untrained(units=units, seed=seed)
    rng = np.random.default_rng(seed)
    # Leaning one way, so that its answers add up to a descent.
    lean = -0.02 * np.sign(rule.cells[0]["W"][0, 2 * units :])
    return rule.replace(readout={"w": lean * rng.uniform(0.5, 1, units), "b": np.zeros(())})


@value
class Drifting(Rule):
    """A state that never rests: c ← c + 1 + tanh(g)/10."""

    name = "drifting"

    def init(self, param, xp):
        return {"c": xp.zeros_like(param)}

    def update(self, grad, state, param, t, xp):
        return -0.01 * grad, {"c": state["c"] + 1 + 0.1 * xp.tanh(grad)}


@value
class Matrix(Rule):
    """A rule for matrices alone."""

    name = "matrix"
    elementwise = False

    def init(self, param, xp):
        return {}

    def update(self, grad, state, param, t, xp):
        return -0.01 * grad @ xp.transpose(grad, (1, 0)) @ grad, {}


def hopeless():
    """A landscape that is nowhere finite."""
    return Landscape("hopeless", lambda x: jnp.sum(x) * jnp.nan, 2)
