"""View: pictures of what the lab found."""

from .curves import loss_curves
from .style import save
from .trajectories import Trace, animation, trace, trajectories
