"""The lab: run rules, compare them, and say how sure one can be."""

from .compare import Comparison, Contender, Entry, compare
from .run import Runs, run
from .sweep import Sweep, stack, sweep
from .tune import Study, tune
from .walks import walks
