"""How an update runs on arrays: line by line as the rule is written, or as one compiled kernel.

A kernel is compiled once for each kind of rule. What depends on numbers alone (lr, 1 − β₂ᵗ) is computed before it, in
64 bits, and enters as an array, so that a hyperparameter that changes compiles nothing anew; and a kernel takes arrays
of any length, so that one serves every parameter.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from ...errors import BadInput
from ...rules.contract import Rule, State

Step = Callable[[Tensor, Tensor, State, Tensor | None], State]
"""Called with the gradient, the parameter, the state's arrays and their `extent`: writes the parameter and the arrays,
and returns the new scalars. Without an extent, all are of the parameter's shape."""
Advance = Callable[[float, dict[str, float]], Step]
"""From t and the state's scalars to step t, for any number of parameters."""

Ready = tuple[Callable[[list[Tensor]], Any], list[Tensor], State]
"""A kernel, the arguments that it begins with, and the new scalars."""

_LENGTH = 2_097_143
"""What kernels are traced at: long enough for threads to pay, and a prime, so that no other axis has this length."""


class _Table(dict[str, Any]):
    """A dict in a rule's form, which is the key of a compiled kernel."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


def mapped(value: Any, f: Callable[[Any], Any]) -> Any:
    """A rule or schedule with `f` applied to its leaves, past the constructor: a leaf may become anything."""
    if value is None:
        return None
    if dataclasses.is_dataclass(value):
        new = object.__new__(type(value))
        for field in dataclasses.fields(value):
            held = getattr(value, field.name)
            object.__setattr__(new, field.name, held if field.metadata.get("static") else mapped(held, f))
        return new
    if isinstance(value, dict):
        return _Table({key: mapped(each, f) for key, each in value.items()})
    if isinstance(value, list | tuple):
        return tuple(mapped(each, f) for each in value)
    return f(value)


def as_torch(rule: Rule) -> Rule:
    """The rule with its arrays, such as a learned rule's weights, as tensors, and its other leaves as plain numbers."""

    def one(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return leaf.detach() if leaf.ndim else float(leaf)
        array = np.asarray(leaf)
        return torch.tensor(array, device="cpu") if array.ndim else float(array)

    return mapped(rule, one)


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which a parameter of `dtype` is updated, and in which its state is kept."""
    if dtype.is_complex:
        return dtype.to_real()
    return torch.float32 if dtype.itemsize < 4 else dtype


def extent(x: Tensor) -> Tensor:
    """A line as long as x, which takes no memory: what tells a kernel how many numbers there are, in whatever shape."""
    return torch.empty(1, dtype=x.dtype, device=x.device).expand(x.numel())


def as_line(x: Tensor, along: Tensor) -> Tensor:
    """The numbers of x, which lie side by side, as a line of an extent."""
    return x.as_strided(along.shape, (1,))


def eager(rule: Rule, maximize: bool) -> Advance:
    """The update as it is written."""
    rules: dict[Any, Rule] = {}

    def advance(t: float, scalars: dict[str, float]) -> Step:
        def step(grad: Tensor, param: Tensor, arrays: State, along: Tensor | None) -> State:
            if along is not None:
                grad, param = as_line(grad, along), as_line(param, along)
            kind = param.device, compute_dtype(param.dtype)
            if kind not in rules:
                rules[kind] = mapped(rule, lambda leaf: leaf.to(*kind) if isinstance(leaf, Tensor) else leaf)
            state = {name: torch.tensor(value, dtype=kind[1], device="cpu") for name, value in scalars.items()}
            count = torch.tensor(t, dtype=torch.float64, device="cpu")
            return _move(rules[kind], maximize, count, grad, param, state, arrays)

        return step

    return advance


def compiled(rule: Rule, form: Any, leaves: list[Any], maximize: bool, insist: bool) -> Advance:
    """The same update as a compiled kernel for each dtype, made at the first call that needs it.

    `form` and `leaves` are the rule `taken_apart`. Where compiling fails the update runs as it is written, after saying
    so; or, with `insist`, it raises BadInput.
    """
    as_written = eager(rule, maximize)

    def advance(t: float, scalars: dict[str, float]) -> Step:
        kernels: dict[Any, Ready | None] = {}

        def kernel(param: Tensor, arrays: State) -> Ready | None:
            program = _program(form, leaves, maximize, insist, param, list(scalars), arrays)
            if program is None:
                return None
            numbers, new = program.prepare(t, [x for x in leaves if not isinstance(x, Tensor)], scalars)
            return program.kernel, [numbers, *_weights(leaves, param)], new

        def step(grad: Tensor, param: Tensor, arrays: State, along: Tensor | None) -> State:
            kind = param.dtype, param.device
            if kind not in kernels:
                kernels[kind] = kernel(param, arrays)
            ready = kernels[kind]
            if ready is None or along is None:
                return as_written(t, scalars)(grad, param, arrays, along)
            run, first, new = ready
            run([*first, along, param, grad, *arrays.values()])
            return new

        return step

    return advance


def _move(rule: Rule, maximize: bool, t: Tensor, grad: Tensor, param: Tensor, scalars: State, arrays: State) -> State:
    dtype = compute_dtype(param.dtype)
    grad = grad.to(dtype)
    step, new = rule.update(-grad if maximize else grad, scalars | arrays, param.to(dtype), t, torch)
    param.add_(step)
    for name, array in arrays.items():
        array.copy_(new[name])
    return {name: new[name] for name in scalars}


def taken_apart(rule: Rule) -> tuple[Any, list[Any]]:
    """A rule's form, equal for two rules that a compiler need not tell apart, and its leaves."""
    leaves: list[Any] = []

    def note(leaf: Any) -> Any:
        leaves.append(leaf)
        return str(tuple(leaf.shape)) if isinstance(leaf, Tensor) else 0.0

    return mapped(rule, note), leaves


@dataclasses.dataclass(frozen=True)
class Program:
    """An update compiled for one form of rule and one dtype."""

    dtype: torch.dtype
    device: torch.device
    scalars: list[str]
    prelude: fx.GraphModule
    """From an array of t, the rule's numbers and the state's scalars: what enters the kernel, and the new scalars."""
    kernel: Callable[[list[Tensor]], Any]
    """From those numbers, the rule's weights, gradient, parameter and state arrays: writes the last two."""

    @functools.cached_property
    def quick(self) -> Callable[[list[float]], Any]:
        """The prelude on Python's floats, where it can be."""
        return _on_floats(self.prelude) or self._slowly

    def prepare(self, t: float, numbers: list[float], scalars: dict[str, float]) -> tuple[Tensor, State]:
        """Run the prelude."""
        given = [t, *numbers, *scalars.values()]
        try:
            entering, new = self.quick(given)
        except (ArithmeticError, ValueError):  # Python's floats raise where arrays have inf and NaN
            entering, new = self._slowly(given)
        return torch.tensor(entering, dtype=self.dtype, device=self.device), dict(zip(self.scalars, new, strict=True))

    def _slowly(self, given: list[float]) -> tuple[list[float], list[Tensor]]:
        entering, new = self.prelude(torch.tensor(given, dtype=torch.float64, device="cpu"))
        return [x.item() for x in entering], new


_programs: dict[Any, Program | None] = {}


def _program(
    form: Any, leaves: list[Any], maximize: bool, insist: bool, param: Tensor, scalars: list[str], arrays: State
) -> Program | None:
    # The number of threads is written into the kernel's code.
    key = form, maximize, param.dtype, param.device, torch.get_num_threads()
    if _programs.get(key) is None and (insist or key not in _programs):
        try:
            _programs[key] = _compile(form, leaves, maximize, param, scalars, arrays)
        except Exception as error:  # the compiler's own, of any kind
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            if insist:
                raise BadInput(f"compiled=True, but the update could not be compiled: {reason}") from error
            _programs[key] = None
            _tell(reason)
    return _programs[key]


def _weights(leaves: list[Any], param: Tensor) -> list[Tensor]:
    return [leaf.to(param.device, compute_dtype(param.dtype)) for leaf in leaves if isinstance(leaf, Tensor)]


def _compile(form: Any, leaves: list[Any], maximize: bool, param: Tensor, scalars: list[str], arrays: State) -> Program:
    dtype, device = compute_dtype(param.dtype), param.device
    numbers = sum(not isinstance(leaf, Tensor) for leaf in leaves)
    weights = _weights(leaves, param)

    def update(early: Tensor, *given: Tensor) -> list[Tensor]:
        t, *plain = (early[i] for i in range(len(early)))
        first = {name: plain.pop(numbers).to(dtype) for name in scalars}
        heavy, (_, param, grad, *rest) = list(given[: len(weights)]), given[len(weights) :]
        ordered = iter([(heavy if isinstance(leaf, Tensor) else plain).pop(0) for leaf in leaves])
        rule = mapped(form, lambda _: next(ordered))
        return list(_move(rule, maximize, t, grad, param, first, dict(zip(arrays, rest, strict=True))).values())

    early = torch.zeros(1 + numbers + len(scalars), dtype=torch.float64, device="cpu")
    lines = [torch.empty(_LENGTH, dtype=param.dtype, device=device) for _ in ("param", "grad")]
    lines.insert(0, extent(lines[0]))  # the first is the one that the kernel asks how long it is
    lines += [torch.empty((_LENGTH, *x.shape[1:]), dtype=x.dtype, device=device) for x in arrays.values()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's compiler imports parts of torch that torch itself deprecates
        traced = make_fx(update, tracing_mode="symbolic")(early, *weights, *lines)
        prelude, main, examples = _split(traced, dtype, device)
        return Program(dtype, device, scalars, prelude, _kernel(main, examples))


def _kernel(main: fx.GraphModule, examples: list[Any]) -> Callable[[list[Tensor]], Any]:
    """The program that torch's compiler makes of a graph, without what it puts around it for the sake of autograd: on
    tensors of some thousand entries that takes as long as the program itself."""
    from torch._functorch import config as autograd
    from torch._inductor import compile_fx, config

    made: list[Any] = []

    def compile_inner(*args: Any, **options: Any) -> Any:
        made.append(compile_fx.compile_fx_inner(*args, **options))
        return made[0]

    # Autograd's own cache would give the whole without compiling what is inside. A gradient may have another shape than
    # the line that it moves; that it is as long is asked of every step, by `suits`.
    with autograd.patch(enable_autograd_cache=False), config.patch(size_asserts=False):
        compile_fx.compile_fx(main, examples, inner_compile=compile_inner)
    return made[0].current_callable


def _split(
    traced: fx.GraphModule, dtype: torch.dtype, device: torch.device
) -> tuple[fx.GraphModule, fx.GraphModule, list[Any]]:
    """Cut a graph in two: what its first input, the numbers, determines alone, and the rest, which takes that.

    Left in the kernel, the powers of β would be taken again for every few entries of the arrays.
    """
    prelude, main = fx.Graph(), fx.Graph()
    early: dict[fx.Node, fx.Node] = {}
    late: dict[fx.Node, fx.Node] = {}
    entering: list[fx.Node] = []
    numbers = main.placeholder("numbers")

    def in_main(node: fx.Node) -> fx.Node:
        if node not in late:
            late[node] = main.call_function(torch.ops.aten.select.int, (numbers, 0, len(entering)))
            entering.append(node)
            if node.meta["val"].dtype == torch.bool:
                late[node] = main.call_function(torch.ops.aten.ne.Scalar, (late[node], 0))
        return late[node]

    first, *inputs = (node for node in traced.graph.nodes if node.op == "placeholder")
    for node in traced.graph.nodes:
        if node.op == "output":
            prelude.output(([early[n] for n in entering], [early[n] for n in node.args[0]]))
            main.output(())
        elif node is first:
            early[node] = prelude.placeholder(node.name)
        elif getattr(node.meta.get("val"), "shape", None) == () and early.keys() >= {*node.all_input_nodes}:
            early[node] = prelude.node_copy(node, early.__getitem__)
        else:
            late[node] = main.node_copy(node, in_main)

    examples = [node.meta["val"] for node in inputs]
    with examples[0].fake_mode:
        examples.insert(0, torch.empty(len(entering), dtype=dtype, device=device))
    return fx.GraphModule(traced, prelude), fx.GraphModule(traced, main), examples


_FLOATS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.select.int: lambda given, _, i: given[i],
    torch.ops.aten.add.Tensor: operator.add,
    torch.ops.aten.sub.Tensor: operator.sub,
    torch.ops.aten.rsub.Scalar: lambda x, y: y - x,
    torch.ops.aten.mul.Tensor: operator.mul,
    torch.ops.aten.div.Tensor: operator.truediv,
    torch.ops.aten.reciprocal.default: lambda x: 1 / x,
    torch.ops.aten.pow.Tensor_Tensor: math.pow,
    torch.ops.aten.pow.Tensor_Scalar: math.pow,
    torch.ops.aten.sqrt.default: math.sqrt,
    torch.ops.aten.neg.default: operator.neg,
    torch.ops.aten.abs.default: abs,
    torch.ops.aten.gt.Tensor: operator.gt,
}
"""What torch's operations are on Python's floats."""


def _on_floats(prelude: fx.GraphModule) -> Callable[[list[float]], Any] | None:
    """The same program from a list of floats to floats, which takes a tenth of the time; None where torch's operations
    are not all plain ones of 64 bits."""
    graph = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    graph.output(graph.graph_copy(prelude.graph, copied))
    for old, node in copied.items():
        if node.op == "call_function":
            if node.target not in _FLOATS or node.kwargs or old.meta["val"].dtype not in (torch.float64, torch.bool):
                return None
            node.target = _FLOATS[node.target]
    return fx.GraphModule({}, graph).forward


_told = False


def _tell(reason: str) -> None:
    """Say, once a process, that updates are not compiled here, and why."""
    global _told
    if not _told:
        _told = True
        warnings.warn(
            f"an update could not be compiled, so it runs as it is written, which is right but slower ({reason}); it "
            "needs a C++ compiler such as g++, and compiled=False says that none is wanted",
            stacklevel=2,
        )
