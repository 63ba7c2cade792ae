"""Rules: what an optimizer is. See `contract` for the idea, and one small file per family for the optimizers."""

from .adaptive import AdaDelta, AdaGrad, Adam, AdaMax, AdamW, AMSGrad, Nadam, NAdamW, RMSProp
from .check import check
from .contract import Rule, State, hyper, names, parse, rule, variant
from .descent import GradientDescent, Momentum, Nesterov, SignDescent
from .learned import GRU, LSTM, Learned, LinearSystem, Recurrent, SmallFC, VanillaRNN, learned
from .mechanisms import Mechanisms
from .modern import Lion, RAdam
from .schedules import (
    Chained,
    Constant,
    Cosine,
    Exponential,
    InverseSqrt,
    InverseTime,
    LinearWarmup,
    OneCycle,
    Piecewise,
    Polynomial,
    Schedule,
    Step,
    schedule,
)
from .spaces import LogUniform, OneMinusLogUniform, Space, Uniform
from .wrappers import L2, Annealed, ClipByNorm, ClipByValue, Scheduled, WeightDecay, Wrapper
