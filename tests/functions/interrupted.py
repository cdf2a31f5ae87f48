"""What `test_interruptions.py` runs in an interpreter of its own: ``python interrupted.py``.

Interrupts calls where some function begins or ends, those of libraries among them, as
Ctrl-C may, and looks whether everything is right afterwards. A call that would not end
is ended by `faulthandler`. Prints how often it was interrupted, or else what went wrong.
"""

import faulthandler
import random
import sys
import time
from collections.abc import Callable

import numpy as np
import scipy.special

import numtape as nt
from numtape.jit.compiling import settle
from numtape.trace.record import active_recorder

X = np.array([0.7, 1.1, 0.4])
POINTS = np.random.default_rng(0).uniform(0.0, 2.0, (300, 3))


def branchy(x):
    total = np.sum(np.sin(x)) if x[0] > 0.5 else np.sum(x * x)
    for _ in range(int(abs(x[1]) * 3)):
        total = total * x[2] + np.cos(x[1])
    return total


def arrays(x):
    shares = scipy.special.softmax(x)
    return np.sum(np.exp(-x * x) * shares) + np.linalg.det(np.outer(x, x) + np.eye(3))


def calls() -> dict[str, Callable[[], np.ndarray]]:
    """By name: of functions that are new at each call, and of some that keep what they have."""
    found = {}
    for f in (branchy, arrays):
        found |= {
            f"{f.__name__}, first gradient": lambda f=f: nt.grad(f)(X),
            f"{f.__name__}, first Hessian": lambda f=f: nt.hessian(f)(X),
            f"{f.__name__}, first batch": lambda f=f: nt.vmap(nt.grad(f))(POINTS),
            f"{f.__name__}, compiled": lambda f=f: nt.record(f, X).compile().gradient(X),
        }
        gradient, tape = nt.grad(f), nt.record(f, X)
        many = nt.vmap(nt.value_and_grad(f))
        found |= {
            f"{f.__name__}, gradient": lambda g=gradient: g(X),
            f"{f.__name__}, gradient elsewhere": lambda g=gradient: g(-X),
            f"{f.__name__}, batch": lambda g=many: g(POINTS)[1],
            f"{f.__name__}, Jacobian": lambda t=tape: t.jacobian(
                np.tile(X, (200, 1)), num_threads=2
            ),
        }
    return found


class Interruption:
    """Comes at one of the steps of a call; counts them where it is to come at none."""

    def __init__(self, at: int = -1) -> None:
        self.at, self.steps = at, 0

    def __call__(self, frame, event, argument):
        if event in ("call", "return"):
            self.steps += 1
            if self.steps == self.at:
                time.sleep(1e-3)  # other threads go on
                raise KeyboardInterrupt
        return self

    def during(self, call: Callable[[], object]) -> None:
        before = sys.gettrace()
        sys.settrace(self)
        try:
            call()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)


def main() -> None:
    rng, every = random.Random(0), calls()
    expected = {name: call() for name, call in every.items()}
    times = 0
    for name, call in every.items():
        counted = Interruption()
        counted.during(call)
        for at in sorted(rng.sample(range(1, counted.steps + 1), min(counted.steps, 20))):
            faulthandler.dump_traceback_later(60, exit=True)
            Interruption(at).during(call)
            assert active_recorder() is None, (name, at)
            for other in [name, *rng.sample(sorted(every), 2)]:
                np.testing.assert_allclose(
                    every[other](), expected[other], rtol=1e-12, atol=1e-14, err_msg=f"{name}, {at}"
                )
            times += 1
    settle()
    print(times)


if __name__ == "__main__":
    main()
