"""View: pictures of what the lab found."""

import functools
from typing import Any

from matplotlib.figure import Figure

from ..errors import BadInput
from ..explain.explanation import Explanation
from ..lab.compare import Comparison
from ..lab.suite import Suite
from ..lab.tune import Study
from .accuracies import accuracy_curves
from .contests import contest_curves
from .curves import loss_curves
from .fits import fitted
from .mechanisms import arms, autonomous, mechanisms, state_space, update_functions
from .page.article import article
from .page.report import report
from .profiles import performance_profile
from .rates import sensitivity
from .style import save
from .trajectories import Trace, animation, trace, trajectories
from .tuning import tuning_landscape


@functools.singledispatch
def figure(found: Any) -> Figure:
    """The picture of a result: of a `Comparison`, its loss curves; of a `Study`, its tuning landscape; of an
    `Explanation`, its mechanisms.

    Raises:
        BadInput: there is no picture of such a thing.
    """
    raise BadInput(f"there is no picture of a {type(found).__name__}; try the result of osc.compare or osc.tune")


figure.register(Comparison, loss_curves)
figure.register(Suite, performance_profile)
figure.register(Study, tuning_landscape)
figure.register(Explanation, mechanisms)
