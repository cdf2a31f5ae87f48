"""What a first derivative costs once everything is recorded and compiled."""

from collections.abc import Callable
from typing import Any

import numpy as np

import numtape

from .measure import best_seconds
from .problems import GRADIENTS, JACOBIANS, Problem
from .rivals import RIVALS, prepare
from .tapes import Tapes, tape_of, tapes_of

_LOOPS = {name: problem for name, problem in GRADIENTS.items() if problem.scalar_code}

# Long enough that the cost of a call hardly counts.
_LONG = {
    name: _LOOPS[name] for name in _LOOPS if name not in ("rosenbrock loop 10", "black scholes")
}


class Gradient:
    """The gradient of a loop of scalars, by problem and rival."""

    params = (list(_LOOPS), list(RIVALS))
    param_names = ("problem", "rival")
    timeout = 300

    call: Callable[[], Any]

    def setup(self, problem: str, rival: str) -> None:
        self.call = prepare(rival, _LOOPS[problem]).call

    def time_gradient(self, problem: str, rival: str) -> None:
        self.call()


class Jacobian:
    """The Jacobian of few outputs by more inputs, by problem and rival."""

    params = (list(JACOBIANS), [rival for rival in RIVALS if rival != "numtape out="])
    param_names = ("problem", "rival")

    call: Callable[[], Any]

    def setup(self, problem: str, rival: str) -> None:
        self.call = prepare(rival, JACOBIANS[problem]).call

    def time_jacobian(self, problem: str, rival: str) -> None:
        self.call()


class Instruction:
    """Linearize and adjoint sweep: the gradient's time for each instruction of a long tape."""

    params = tuple(_LONG)
    param_names = ("problem",)

    def setup_cache(self) -> Tapes:
        return tapes_of(_LONG)

    def setup(self, tapes: Tapes, problem: str) -> None:
        tapes[problem].gradient(_LONG[problem].point)

    def track_nanoseconds(self, tapes: Tapes, problem: str) -> float:
        return nanoseconds_per_instruction(_LONG[problem], tapes[problem])

    track_nanoseconds.unit = "ns"


def nanoseconds_per_instruction(problem: Problem, tape: numtape.Tape | None = None) -> float:
    """A gradient's nanoseconds over the number of instructions on its tape."""
    tape = tape or tape_of(problem)
    point, out = problem.point, np.empty_like(problem.point)
    return best_seconds(lambda: tape.gradient(point, out=out)) * 1e9 / tape.flat.instructions


def one_instruction(x: Any) -> Any:
    return x[0] * x[0]


class CallOverhead:
    """Calls whose tape has one instruction: what is measured is getting there and back."""

    def setup(self) -> None:
        self.point = np.array([3.0])
        self.out = np.empty(1)
        self.tape = numtape.record(one_instruction, self.point)
        self.grad = numtape.grad(one_instruction)
        self.jacobian = numtape.jacobian(one_instruction)
        self.value_and_grad = numtape.value_and_grad(one_instruction)
        self.time_tape_value()
        self.time_tape_gradient_out()
        self.time_tape_jacobian()
        self.time_grad()
        self.time_jacobian()
        self.time_value_and_grad()

    def time_tape_value(self) -> None:
        self.tape(self.point)

    def time_tape_gradient(self) -> None:
        self.tape.gradient(self.point)

    def time_tape_gradient_out(self) -> None:
        self.tape.gradient(self.point, out=self.out)

    def time_tape_jacobian(self) -> None:
        self.tape.jacobian(self.point)

    def time_grad(self) -> None:
        self.grad(self.point)

    def time_value_and_grad(self) -> None:
        self.value_and_grad(self.point)

    def time_jacobian(self) -> None:
        self.jacobian(self.point)


def payoff_with_data(x: Any, strike: float, scale: Any) -> Any:
    return (x[0] - strike) * scale[0]


class CallWithData:
    """A call of several arguments, as in fitting: parameters, a number, an array of data."""

    def setup(self) -> None:
        self.arguments = (np.array([3.0]), 2.0, np.array([1.5]))
        self.tape = numtape.record(payoff_with_data, *self.arguments)
        self.grad = numtape.grad(payoff_with_data)
        self.time_tape_gradient()
        self.time_grad()

    def time_tape_gradient(self) -> None:
        self.tape.gradient(*self.arguments)

    def time_grad(self) -> None:
        self.grad(*self.arguments)


def newton(x: Any) -> Any:
    """Five steps towards the root of 2."""
    for _ in range(5):
        x = x - (x * x - 2.0) / (2.0 * x)
    return x


def sum_of_squares(values: Any) -> Any:
    total = 0.0
    for value in values:
        total = total + value * value
    return total


def product(x: Any, y: Any) -> Any:
    return x * y


def two_branches(x: Any) -> Any:
    return x * x if x > 0.0 else -x


class SmallCalls:
    """Calls with a few floats, where nearly all is what is done in Python around the kernel."""

    def setup(self) -> None:
        self.numbers = [float(k) for k in range(10)]
        self.newton = numtape.grad(newton)
        self.newton_with_value = numtape.value_and_grad(newton)
        self.sum_of_squares = numtape.grad(sum_of_squares)
        self.sum_by_name = numtape.grad(lambda tree: sum_of_squares(tree.values()))
        self.tree = {"a": 1.0, "b": 2.0}
        self.product = numtape.grad(product)
        self.one_branch, self.branches = numtape.grad(two_branches), numtape.grad(two_branches)
        problem = JACOBIANS["bundle adjustment"]
        self.point = np.array(problem.point)
        self.reprojection = numtape.jacobian(problem.function)
        for _ in range(300):  # until the Jacobian comes from a tape of its own
            self.time_bundle_adjustment_jacobian()
        self.time_newton()
        self.time_newton_with_value()
        self.time_list_of_ten()
        self.time_dict_of_two()
        self.time_two_floats()
        self.time_same_branch_twice()
        self.time_two_branches_in_turn()

    def time_newton(self) -> None:
        self.newton(1.7)

    def time_newton_with_value(self) -> None:
        self.newton_with_value(1.7)

    def time_list_of_ten(self) -> None:
        self.sum_of_squares(self.numbers)

    def time_dict_of_two(self) -> None:
        self.sum_by_name(self.tree)

    def time_two_floats(self) -> None:
        self.product(2.0, 3.0)

    def time_bundle_adjustment_jacobian(self) -> None:
        self.reprojection(self.point)

    def time_same_branch_twice(self) -> None:
        self.one_branch(1.5)
        self.one_branch(1.25)

    def time_two_branches_in_turn(self) -> None:
        self.branches(1.5)
        self.branches(-1.5)
