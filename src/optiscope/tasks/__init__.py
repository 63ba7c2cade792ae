"""Tasks: what a rule runs on. See `contract` for the idea."""

from . import mnist, real, synthetic
from .batches import Batches, Epochs, Everything, Noise, Rows, WithoutReplacement, WithReplacement
from .contract import Problem, Task, factory, names, task
from .landscapes import Landscape, Place
from .quadratics import Quadratic, QuadraticProblem
from .stationary import StationaryPoint, stationary_points
from .supervised import MLP, Dataset, Fit
from .tables import read_columns
