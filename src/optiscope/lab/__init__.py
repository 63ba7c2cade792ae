"""The lab: run rules, compare them, and say how sure one can be."""

from .compare import Comparison, Entry, compare
from .contenders import Contender, RuleContender, SolverContender
from .run import Runs, run, run_each, start_of
from .search import Search, search
from .solving import run_solver
from .store import Store
from .suite import Suite, suite
from .sweep import Sweep, stack, sweep
from .tune import Study, tune
from .walks import walks
