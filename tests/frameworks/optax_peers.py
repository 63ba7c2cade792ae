"""A pytest plugin: optax's own tests of its optimizers, which its wheel carries, meet ours in their place."""

from absl.testing import parameterized
from optax._src import alias

from optiscope.frameworks import optax as front

OURS = ["adadelta", "adagrad", "adam", "adamax", "adamaxw", "adamw", "amsgrad", "lion"]
OURS += ["nadam", "nadamw", "radam", "rmsprop", "sgd", "sign_sgd", "signum"]
for name in OURS:
    setattr(alias, name, getattr(front, name))

every_case = parameterized.product


def product(*cases, **others):
    """The tests' decorator, without the optimizers that we do not have."""
    return every_case(*([case for case in some if case["opt_name"] in OURS] for some in cases), **others)


parameterized.product = product
