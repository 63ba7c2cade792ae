"""torch's optimizers as rules: contenders in the lab's comparisons, which they enter by a call back out of JAX."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch

from ...errors import BadInput
from ...rules.contract import Rule, State, hyper, rule
from ...rules.spaces import LogUniform
from ...values import static


def from_torch(cls: type[torch.optim.Optimizer], **settings: Any) -> Rule:
    """A `torch.optim` class as a rule, for `optiscope.compare` and the like. `lr` is its one hyperparameter.

    Every step is torch's own, taken in torch and outside of any compiled program: one array of one seed takes a
    fraction of a millisecond a step.

    Args:
        cls: an optimizer that needs no closure.
        settings: its keyword arguments.

    Raises:
        BadInput: it cannot be made with these settings, or cannot step without a closure.
    """
    lr = settings.pop("lr", inspect.signature(cls).parameters["lr"].default)
    made = FromTorch(cls, tuple(sorted(settings.items())), lr)
    made.init(np.zeros((2, 2)), np)
    return made


@rule
class FromTorch(Rule):
    """An optimizer of torch's. Its state is torch's too, but for the count of steps, which a front keeps."""

    elementwise = False  # nobody knows

    cls: type[torch.optim.Optimizer] = static()
    settings: tuple[tuple[str, Any], ...] = static()
    lr: float = hyper(1e-3, LogUniform(1e-6, 1e1))

    def init(self, param: Any, xp: Any) -> State:
        # The entries that a first step makes. It also gives them their values, so zeros will do here.
        nothing = np.zeros(param.shape, "float32")
        like = self._stepped(0.0, nothing, nothing, 1, {})[1]
        return {name: xp.zeros(value.shape, dtype=param.dtype) for name, value in like.items()}

    def update(self, grad: Any, state: State, param: Any, t: Any, xp: Any) -> tuple[Any, State]:
        if xp.__name__ == "jax.numpy":
            import jax

            forms = jax.eval_shape(lambda: (param, state))
            return jax.pure_callback(self._stepped, forms, self.lr, grad, param, t, state, vmap_method="sequential")
        step, new = self._stepped(self.lr, grad, param, t, state)
        return xp.asarray(step), {name: xp.asarray(value) for name, value in new.items()}

    def _stepped(self, lr: Any, grad: Any, param: Any, t: Any, state: State) -> tuple[np.ndarray, State]:
        """torch's step number t, from the state before it."""
        lr, t, param = float(lr), int(t), np.asarray(param)
        p = torch.nn.Parameter(torch.tensor(param))
        p.grad = torch.tensor(np.asarray(grad))
        try:
            optimizer = self.cls([p], lr=lr, **dict(self.settings))  # type: ignore[call-arg]  # every subclass takes lr
            if t > 1:
                optimizer.state[p] = {name: torch.tensor(np.asarray(value)) for name, value in state.items()}
                optimizer.state[p]["step"] = torch.tensor(float(t - 1))
            optimizer.step()
        except (TypeError, ValueError, RuntimeError) as error:
            raise BadInput(f"torch.optim.{self.cls.__name__} cannot be a rule with these settings: {error}") from error
        new = {
            name: value.numpy().astype(param.dtype)
            for name, value in optimizer.state[p].items()
            if isinstance(value, torch.Tensor) and name != "step"
        }
        return p.detach().numpy() - param, new
