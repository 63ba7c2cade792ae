"""The SciPy front: `minimize` and `least_squares` with SciPy's signatures and results, for a change of one line.

    from optiscope.frameworks.scipy import minimize

A function written with `jax.numpy` is compiled and differentiated. Any other, such as one written with NumPy, is called
from the compiled solver as it is, and differentiated by central differences where no `jac` is given.
"""

from .minimum import minimize
from .squares import least_squares
