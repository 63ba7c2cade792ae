"""Tasks: what a rule runs on. See `contract` for the idea."""

from . import mnist, real, synthetic
from .batches import Batches, Epochs, Everything, Noise, Rows, WithoutReplacement, WithReplacement
from .contract import Problem, Task, factory, names, spelled, task
from .convnet import ConvNet
from .custom import from_loss
from .families import Rescaled, networks
from .landscapes import Landscape, Place
from .quadratics import Quadratic, QuadraticProblem
from .stationary import StationaryPoint, stationary_points
from .supervised import ACTIVATIONS, MLP, Dataset, Fit
from .tables import from_file, read_columns
