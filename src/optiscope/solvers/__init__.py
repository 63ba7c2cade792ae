"""Solvers: methods that call the function more than once a step. `solve` has the entrances, `walk` the idea."""

from .gradient import CG, GD
from .least_squares import LM, Dogleg, GaussNewton
from .linesearch import Backtracking, HagerZhang, StrongWolfe
from .many import solve_many
from .newton import Newton, NewtonCG
from .quasi_newton import BFGS, LBFGS
from .solution import Evaluations, History, Solution, Status
from .solve import LEAST_SQUARES, MINIMIZERS, least_squares, minimize
