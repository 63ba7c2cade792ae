"""The PyTorch front: `Optimizer` for any rule, torch's own classes by their names, and torch's optimizers as rules."""

from .classes import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RMSprop
from .contender import from_torch
from .optimizer import Optimizer
