"""Meta-training: estimators of the meta-gradient, the outer loop, its checkpoints, and the zoo of trained rules."""

from .article import FAMILIES, contested, figures
from .contest import Contest, Side, contest
from .estimators import PES, Backprop, Estimator, FullES, Imitation, TruncatedES
from .recipes import RECIPES, Recipe, recipe
from .train import Training, train
from .zoo import card, load, save, zoo
