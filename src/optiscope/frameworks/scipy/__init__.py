"""The SciPy front: `minimize` and `least_squares` with SciPy's signatures and results, for a change of one line.

    from optiscope.frameworks.scipy import minimize

A function that returns JAX's arrays is compiled, once for each function, and differentiated; what changes between calls
belongs in its arguments. Any other, such as one written with NumPy, is called from a compiled solver as it is, and
differentiated by central differences where no `jac` is given.
"""

from .minimum import minimize
from .squares import least_squares
