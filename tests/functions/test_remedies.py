"""Each error of `numtape.functions` names a remedy, and with it the program works.

A test at the end finds every place there that raises, and sees that it is among these.
"""

import ast
import functools
import os
import pickle
import sys
import tempfile
import traceback
import warnings
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize
from labels import Series

import numtape as nt
from numtape.tape import container

X = np.array([0.5, 1.5, 2.5])
POINTS = np.array([[0.5, 1.5, 2.5], [1.0, -1.0, 0.0]])
SOURCES = Path(nt.__file__).parent / "functions"
Pair = namedtuple("Pair", "x y")


def squares(x):
    return np.sum(x * x)


def pair(x):
    return x * 2.0, x * 3.0


def scaled(a, b):
    a *= 2.0
    return np.sum(a * b)


def loss(x, a):
    return a * np.sum(x * x)


def neighbours(x):
    return x[1:] * x[:-1]


SLOPES = np.array([[X[1], X[0], 0.0], [0.0, X[2], X[1]]])


def dense(matrix):
    return matrix.toarray()


def refreshed(slopes):
    return slopes(X, out=slopes(2.0 * X))


bent = nt.problem(lambda x: np.sum(x**2) if x[0] > 0.0 else np.sum(x**2) + x[1] * x[2], sparse=True)


def minimized(p):
    found = scipy.optimize.minimize(p.fun, X, jac=p.jac, hess=p.hess, method="trust-constr")
    return found.x.round(6)


def asked(p):
    p.fun(X)
    return p


def dask_of(values, chunks=1):
    from dask import array

    return array.from_array(values, chunks=chunks)


def computed(lazy):
    return lazy.compute(scheduler="synchronous")


def blocks(result):
    return np.concatenate(list(result))


TAPE = nt.record(squares, X)
TWO = nt.record(loss, X, 2.0)
PAIR = nt.record(pair, X)
VECTOR = nt.record(lambda x: x * x, X)
POWER = nt.record(lambda x, n: x**n, 2.0, 3)
BRANCH = nt.record(lambda x: x * x if x > 0.0 else -x, 2.0)
ASSIGNS = nt.record(scaled, X, X.copy())
PULL_BACK = nt.vjp(squares, X)[1]
SUMS = np.sum(POINTS**2, axis=1)


# What is refused, a part of the remedy, and what is followed with what it is to give.
REMEDIES = {
    # branches
    "a mode that there is not": [
        lambda: nt.grad(squares, branches="both"),
        "Give one of these",
        (lambda: nt.grad(squares, branches="select")(X), 2.0 * X),
        (lambda: nt.grad(squares, branches="paths")(X), 2.0 * X),
    ],
    # sparse derivatives
    "a format without sparse": [
        lambda: nt.jacobian(neighbours, format="csc"),
        "Add sparse=True, or leave it out",
        (lambda: dense(nt.jacobian(neighbours, sparse=True, format="csc")(X)), SLOPES),
        (lambda: nt.jacobian(neighbours)(X), SLOPES),
    ],
    "a check without sparse": [
        lambda: nt.hessian(squares, check=True),
        "Add sparse=True, or leave it out",
        (lambda: dense(nt.hessian(squares, sparse=True, check=True)(X)), 2.0 * np.eye(3)),
        (lambda: nt.hessian(squares)(X), 2.0 * np.eye(3)),
    ],
    "a format that there is not": [
        lambda: nt.jacobian(neighbours, sparse=True, format="rsc"),
        "one of SciPy's, csr, csc, coo",
        (lambda: dense(nt.jacobian(neighbours, sparse=True, format="coo")(X)), SLOPES),
    ],
    "a pattern that is none": [
        lambda: nt.jacobian(neighbours, sparse="yes"),
        "True, or the pattern where it is known",
        (lambda: dense(nt.jacobian(neighbours, sparse=True)(X)), SLOPES),
        (lambda: dense(nt.jacobian(neighbours, sparse=SLOPES != 0.0)(X)), SLOPES),
    ],
    "a mode of a dense Hessian": [
        lambda: nt.hessian(squares, mode="reverse"),
        "Leave mode out, or add sparse=True",
        (lambda: nt.hessian(squares)(X), 2.0 * np.eye(3)),
        (lambda: dense(nt.hessian(squares, mode="reverse", sparse=True)(X)), 2.0 * np.eye(3)),
    ],
    "a sparse Jacobian of a tree": [
        lambda: nt.jacobian(pair, sparse=True)(X),
        "Return one array, such as np.concatenate of the parts, or leave sparse out",
        (
            lambda: dense(nt.jacobian(lambda x: np.concatenate(pair(x)), sparse=True)(X)),
            np.vstack([2.0 * np.eye(3), 3.0 * np.eye(3)]),
        ),
        (lambda: nt.jacobian(pair)(X)[0], 2.0 * np.eye(3)),
    ],
    "out of a dense array": [
        lambda: nt.jacobian(neighbours, sparse=True)(X, out=np.zeros((2, 3))),
        "Pass such a result, or leave out= away",
        (lambda: dense(refreshed(nt.jacobian(neighbours, sparse=True))), SLOPES),
        (lambda: dense(nt.jacobian(neighbours, sparse=True)(X)), SLOPES),
    ],
    "out of other blocks": [
        lambda: nt.jacobian(loss, (0, 1), sparse=True)(X, 2.0, out=[1.0]),
        "Pass such a result, or leave out= away",
        (lambda: dense(nt.jacobian(loss, (0, 1), sparse=True)(X, 2.0)[0]), [4.0 * X]),
    ],
    "a pattern without a nonzero": [
        lambda: nt.jacobian(neighbours, sparse=np.eye(2, 3) != 0.0, mode="forward", check=True)(X),
        "Add it, or give sparse=True to have the pattern found",
        (lambda: dense(nt.jacobian(neighbours, sparse=SLOPES != 0.0, check=True)(X)), SLOPES),
        (lambda: dense(nt.jacobian(neighbours, sparse=True)(X)), SLOPES),
    ],
    "a sparse derivative inside": [
        lambda: nt.grad(lambda x: nt.jacobian(neighbours, sparse=True)(x)[0, 0])(X),
        "Use the dense numtape.jacobian there, or products with it",
        (lambda: nt.grad(lambda x: nt.jacobian(neighbours)(x)[0, 0])(X), [0.0, 1.0, 0.0]),
    ],
    "constraints that there are not": [
        lambda: nt.problem(squares).constraints(X),
        "Make it with problem(objective, constraints=g)",
        (lambda: nt.problem(squares, constraints=neighbours).constraints(X), neighbours(X)),
    ],
    "another path under Ipopt": [
        lambda: bent.ipopt(X).hessian(-X, np.zeros(0), 1.0),
        "Choose a point for problem.ipopt(x) on the path with more nonzeros",
        (lambda: bent.ipopt(-X).hessian(X, np.zeros(0), 1.0), [2.0, 2.0, 0.0, 2.0]),
    ],
    "a solver that is not installed": [
        lambda: _without("cyipopt", lambda: nt.problem(squares).ipopt(X).solve(X)),
        'use SciPy\'s minimize(method="trust-constr")',
        (lambda: minimized(nt.problem(squares)), np.zeros(3)),
    ],
    "progress without rich": [
        lambda: _without("rich.live", lambda: nt.problem(squares).progress().__enter__()),
        "or look at counts",
        (lambda: asked(nt.problem(squares)).counts["fun"], 1),
    ],
    # loops and choices
    "cond of an array": [
        lambda: nt.cond(X > 1.0, np.sin, np.cos, X),
        "by np.where(pred, a, b)",
        (lambda: np.where(X > 1.0, X, -X), np.array([-0.5, 1.5, 2.5])),
    ],
    "cond of results that are not alike": [
        lambda: nt.grad(lambda x: nt.cond(x > 0.0, lambda y: (y, y), lambda y: y, x))(1.0),
        "Return the same structure and shapes from both",
        (lambda: nt.grad(lambda x: nt.cond(x > 0.0, lambda y: y, lambda y: -y, x))(1.0), 1.0),
    ],
    "a loop that does not end": [
        lambda: nt.while_loop(lambda x: x < 9.0, lambda x: x + 1.0, 0.0, max_steps=5),
        "Allow more steps",
        (lambda: nt.while_loop(lambda x: x < 9.0, lambda x: x + 1.0, 0.0, max_steps=10), 9.0),
    ],
    "a recorded loop that does not end": [
        lambda: nt.grad(
            lambda a: nt.while_loop(lambda x: x < 9.0, lambda x: x + a, 0.0, max_steps=5)
        )(1.0),
        "Allow more steps",
        (
            lambda: nt.grad(
                lambda a: nt.while_loop(lambda x: x < 9.0, lambda x: x + a, 0.0, max_steps=10)
            )(1.0),
            9.0,
        ),
    ],
    "fewer steps than none": [
        lambda: nt.while_loop(lambda x: x < 9.0, lambda x: x + 1.0, 0.0, max_steps=-1),
        "Pass 0 or more, or None",
        (lambda: nt.while_loop(lambda x: x < 0.0, lambda x: x + 1.0, 0.0, max_steps=0), 0.0),
    ],
    "a traced bound": [
        lambda: nt.grad(lambda x: nt.fori_loop(0, x, lambda k, y: y + x, x))(2.0),
        "Pass a Python int, or use while_loop",
        (lambda: nt.grad(lambda x: nt.fori_loop(0, 2, lambda k, y: y + x, x))(2.0), 3.0),
    ],
    "a number to scan": [
        lambda: nt.scan(lambda c, x: (c + x, None), 0.0, 3.0),
        "Pass arrays, and what is the same in all steps through the function",
        (lambda: nt.scan(lambda c, _: (c + 3.0, None), 0.0, length=2)[0], 6.0),
    ],
    "a negative length": [
        lambda: nt.scan(lambda c, x: (c, None), 0.0, length=-1),
        "Pass 0 or more",
        (lambda: nt.scan(lambda c, x: (c, None), 2.0, length=0)[0], 2.0),
    ],
    "no length": [
        lambda: nt.scan(lambda c, x: (c, None), 0.0),
        "Pass xs of one length, or length=n without xs",
        (lambda: nt.scan(lambda c, x: (c + 1.0, None), 0.0, length=3)[0], 3.0),
        (lambda: nt.scan(lambda c, x: (c + x, None), 0.0, X)[0], 4.5),
    ],
    "a scan that returns no pair": [
        lambda: nt.scan(lambda c, x: c + x, 0.0, X),
        "Return (carry, y), with y None for nothing",
        (lambda: nt.scan(lambda c, x: (c + x, None), 0.0, X)[0], 4.5),
    ],
    "another structure to carry": [
        lambda: nt.scan(lambda c, x: ((x, x), None), 0.0, X),
        "Return the same structure, or begin with it",
        (lambda: nt.scan(lambda c, x: ((x, x), None), (0.0, 0.0), X)[0][0], 2.5),
    ],
    "another shape to carry": [
        lambda: nt.scan(lambda c, x: (c + X, None), 0.0, X),
        "for example by np.broadcast_to",
        (lambda: nt.scan(lambda c, x: (c + X, None), np.broadcast_to(0.0, 3), X)[0], 3.0 * X),
    ],
    "negative bytes": [
        lambda: nt.scan(lambda c, x: (c + x, None), 0.0, X, checkpoint=-1),
        "Pass True to keep as little as possible",
        (lambda: nt.scan(lambda c, x: (c + x, None), 0.0, X, checkpoint=True)[0], 4.5),
    ],
    # what is called
    "a number as function": [
        lambda: nt.grad(np.sin(2.0)),
        "Pass one, as in grad(f)(x)",
        (lambda: nt.grad(np.sin)(2.0), np.cos(2.0)),
    ],
    "vmap of a tape": [
        lambda: nt.vmap(TAPE),
        "as in tape.gradient(points)",
        (lambda: TAPE.gradient(POINTS), 2.0 * POINTS),
    ],
    "named arguments": [
        lambda: nt.record(loss, X, a=2.0),
        "functools.partial(f, a=2.0)",
        (lambda: nt.record(functools.partial(loss, a=2.0), X).gradient(X), 4.0 * X),
        (lambda: nt.record(lambda x, a: loss(x, a=a), X, 2.0).gradient(X, 3.0), 6.0 * X),
    ],
    "argnums too large": [
        lambda: nt.grad(loss, argnums=1)(X, a=2.0),
        "Pass that argument by position, or correct argnums",
        (lambda: nt.grad(loss, argnums=1)(X, 2.0), squares(X)),
        (lambda: nt.grad(loss, argnums=0)(X, a=2.0), 4.0 * X),
    ],
    "argnums of another type": [
        lambda: nt.grad(squares, argnums="x")(X),
        "Pass 0 for the first argument",
        (lambda: nt.grad(squares, argnums=0)(X), 2.0 * X),
    ],
    # what is differentiated by
    "a tree without leaves": [
        lambda: nt.grad(loss, argnums=(0, 1))(X, None),
        "leave it out of argnums",
        (lambda: nt.grad(lambda x, a: squares(x))(X, None), 2.0 * X),
    ],
    "an integer in a tree": [
        lambda: nt.grad(lambda p: p["a"] ** p["n"])({"a": 2.0, "n": 3}),
        "Convert it to float, or make it an argument of its own",
        (lambda: nt.grad(lambda p: p["a"] ** p["n"])({"a": 2.0, "n": 3.0})["a"], 12.0),
        (lambda: nt.grad(lambda p, n: p["a"] ** n)({"a": 2.0}, 3)["a"], 12.0),
    ],
    "an integer of a tape": [
        lambda: POWER.gradient(2.0, 3, argnums=1),
        "Convert it to float, or make it an argument of its own that argnums leaves out",
        (
            lambda: nt.record(lambda x, n: x**n, 2.0, 3.0).gradient(2.0, 3.0, argnums=1),
            8.0 * np.log(2.0),
        ),
        (lambda: POWER.gradient(2.0, 3, argnums=0), 12.0),
    ],
    "None of a tape": [
        lambda: nt.record(lambda x, y: x * x, 2.0, None).gradient(2.0, None, argnums=1),
        "Convert it to float, or choose other argnums",
        (lambda: nt.record(lambda x, y: x * y, 2.0, 3.0).gradient(2.0, 3.0, argnums=1), 2.0),
        (lambda: nt.record(lambda x, y: x * x, 2.0, None).gradient(2.0, None), 4.0),
    ],
    "a series that its library computes otherwise with": [
        lambda: nt.grad(lambda x: x.std())(Series(X)),
        "Pass x.to_numpy()",
        (lambda: nt.grad(lambda x: x.std())(Series(X).to_numpy()), nt.grad(np.std)(X)),
    ],
    "a series with missing values": [
        lambda: nt.grad(squares)(Series([0.5, np.nan])),
        "x.fillna(value), or its values with them, x.to_numpy()",
        (lambda: nt.grad(squares)(Series([0.5, np.nan]).to_numpy()), [1.0, np.nan]),
    ],
    "too large an integer": [
        lambda: nt.grad(np.log)(10**400),
        "its logarithm for example",
        (lambda: nt.grad(lambda x: x)(400 * np.log(10.0)), 1.0),
    ],
    "a tangent of a static integer": [
        lambda: nt.jvp(lambda x, n: x**n, (2.0, 3), (0.0, 1.0)),
        "Convert it to float, or give 0 as its tangent",
        (lambda: nt.jvp(lambda x, n: x**n, (2.0, 3.0), (0.0, 1.0))[1], 8.0 * np.log(2.0)),
        (lambda: nt.jvp(lambda x, n: x**n, (2.0, 3), (1.0, 0))[1], 12.0),
    ],
    "seeds of a tape with a static argument": [
        lambda: POWER.adjoint(seeded=True),
        "with a lambda or functools.partial, and record that",
        (lambda: nt.record(lambda x: x**3, 2.0).adjoint(seeded=True)(2.0, 1.0)[1][0], 12.0),
        (
            lambda: nt.record(functools.partial(pow, exp=3), 2.0).tangent(seeded=True)(2.0, 1.0)[1],
            12.0,
        ),
    ],
    # types
    "a masked array": [
        lambda: nt.grad(squares)(np.ma.array(X, mask=[True, False, False])),
        "x.filled(value) or x.compressed()",
        (
            lambda: nt.grad(squares)(np.ma.array(X, mask=[True, False, False]).filled(0.0)),
            [0, 3, 5],
        ),
    ],
    "an unhashable static argument": [
        lambda: nt.grad(lambda x, s: x * len(s))(2.0, {1, 2}),
        "Make it a tuple or a frozen dataclass, or close over it",
        (lambda: nt.grad(lambda x, s: x * len(s))(2.0, tuple({1, 2})), 2.0),
        (lambda: nt.grad(lambda x, s={1, 2}: x * len(s))(2.0), 2.0),
    ],
    "points of text": [
        lambda: nt.vmap(lambda x: float(x))(np.array(["1.5", "2.5"])),
        "Pass such an array, or call the function in a loop",
        (lambda: nt.vmap(lambda x: x)(np.array(["1.5", "2.5"]).astype(float)), [1.5, 2.5]),
        (lambda: [float(x) for x in np.array(["1.5", "2.5"])], [1.5, 2.5]),
    ],
    "a seed of text": [
        lambda: nt.vjp(squares, X)[1](np.array("2.0")),
        "Convert it with .astype(float)",
        (lambda: nt.vjp(squares, X)[1](np.array("2.0").astype(float))[0], 4.0 * X),
    ],
    # structures and shapes
    "another shape for a tape": [
        lambda: TAPE(np.ones(4)),
        "Pass such an array, or record another tape",
        (lambda: TAPE(np.ones((2, 3))), [3.0, 3.0]),
        (lambda: nt.record(squares, np.ones(4))(np.ones(4)), 4.0),
    ],
    "another structure for a tape": [
        lambda: TAPE([0.5, 1.5, 2.5]),
        "Record another tape for these, or use numtape.grad",
        (lambda: nt.record(sum, [0.5, 1.5])([1.0, 2.0]), 3.0),
        (lambda: nt.grad(sum)([0.5, 1.5, 2.5]), [1.0, 1.0, 1.0]),
    ],
    "another static argument for a tape": [
        lambda: POWER.gradient(2.0, 4),
        "Record another tape for these, or use numtape.grad",
        (lambda: nt.record(lambda x, n: x**n, 2.0, 4).gradient(2.0, 4), 32.0),
        (lambda: nt.grad(lambda x, n: x**n)(2.0, 4), 32.0),
    ],
    "tangents of another structure": [
        lambda: nt.jvp(loss, (X, 2.0), (X,)),
        "Pass a tuple with one for each",
        (lambda: nt.jvp(loss, (X, 2.0), (X, 0.0))[1], 4.0 * squares(X)),
    ],
    "tangents of another structure, inside": [
        lambda: nt.grad(lambda a: nt.jvp(loss, (X, a), (X,))[1])(2.0),
        "Pass such a tree",
        (lambda: nt.grad(lambda a: nt.jvp(loss, (X, a), (X, 0.0))[1])(2.0), 2.0 * squares(X)),
    ],
    "cotangents of another structure": [
        lambda: nt.vjp(pair, X)[1](X),
        "a tree like the function's result. Pass one",
        (lambda: nt.vjp(pair, X)[1]((X, X))[0], 5.0 * X),
    ],
    "numbers of points that do not fit": [
        lambda: TWO(POINTS, np.ones(3)),
        "Pass as many points everywhere; what all points share needs no leading axes",
        (lambda: TWO(POINTS, np.ones(2)), SUMS),
        (lambda: TWO(POINTS, 1.0), SUMS),
    ],
    "many points where there is one": [
        lambda: TAPE.linearize((POINTS,)),
        "Use jvp, vjp, gradient or jacobian, which take many",
        (lambda: TAPE.jvp(POINTS, POINTS)[1], 2.0 * SUMS),
        (lambda: TAPE.vjp(POINTS, 1.0)[1][0], 2.0 * POINTS),
        (lambda: TAPE.gradient(POINTS), 2.0 * POINTS),
        (lambda: TAPE.jacobian(POINTS), 2.0 * POINTS),
    ],
    "memory that is shared": [
        lambda: ASSIGNS(X, X),
        "Pass copies, x.copy(), where the recording had separate arrays in C order, or record at",
        (lambda: ASSIGNS(X, X.copy()), 2.0 * squares(X)),
        (lambda: nt.record(scaled, X, X)(X, X), 4.0 * squares(X)),
    ],
    # tapes and traced values
    "a tape inside": [
        lambda: nt.grad(lambda x: TAPE(x))(X),
        "call the function itself, or numtape.grad",
        (lambda: nt.grad(squares)(X), 2.0 * X),
        (lambda: nt.grad(lambda x: np.sum(nt.grad(squares)(x)))(X), [2.0, 2.0, 2.0]),
    ],
    "traced cotangents of an outer point": [
        lambda: nt.grad(lambda w: np.sum(PULL_BACK(w)[0]))(2.0),
        "Call numtape.vjp inside it",
        (lambda: nt.grad(lambda w: np.sum(nt.vjp(squares, X)[1](w)[0]))(2.0), 9.0),
    ],
    "record inside": [
        lambda: nt.grad(lambda x: nt.record(lambda y: x * y, 3.0).gradient(3.0))(2.0),
        "Pass the values as arguments, or use numtape.grad",
        (lambda: nt.record(lambda x, y: x * y, 2.0, 3.0).gradient(2.0, 3.0, argnums=1), 2.0),
        (lambda: nt.grad(lambda x: nt.grad(lambda y: x * y)(3.0))(2.0), 1.0),
    ],
    "another branch": [
        lambda: BRANCH.gradient(-3.0),
        "Record a tape here, or use numtape.grad and its like, or numtape.vmap",
        (lambda: nt.record(lambda x: x * x if x > 0.0 else -x, -3.0).gradient(-3.0), -1.0),
        (lambda: nt.grad(lambda x: x * x if x > 0.0 else -x)(-3.0), -1.0),
        (lambda: nt.vmap(lambda x: x * x if x > 0.0 else -x)(np.array([2.0, -3.0])), [4.0, 3.0]),
    ],
    # results
    "nothing returned": [
        lambda: nt.grad(lambda x: x.fill(2.0))(X),
        "what was assigned to an argument must be returned too",
        (lambda: nt.jacobian(lambda x: (x.fill(2.0), x)[1])(X), np.zeros((3, 3))),
    ],
    "no pair with has_aux": [
        lambda: nt.grad(squares, has_aux=True)(X),
        "Return such a pair, or leave has_aux out",
        (lambda: nt.grad(lambda x: (squares(x), x), has_aux=True)(X), (2.0 * X, X)),
        (lambda: nt.grad(squares)(X), 2.0 * X),
    ],
    "a gradient of many": [
        lambda: nt.grad(lambda x: x * x)(X),
        "Use jacobian, or return a sum",
        (lambda: nt.jacobian(lambda x: x * x)(X), np.diag(2.0 * X)),
        (lambda: nt.grad(lambda x: np.sum(x * x))(X), 2.0 * X),
    ],
    "a gradient of a count": [
        lambda: nt.grad(lambda x: np.sum(x > 1.0))(X),
        "Return 1.0 * value",
        (lambda: nt.grad(lambda x: 1.0 * np.sum(x > 1.0))(X), np.zeros(3)),
        (lambda: nt.grad(lambda x: np.sum(np.tanh(x)))(X), 1.0 - np.tanh(X) ** 2),
    ],
    "results of two shapes": [
        lambda: list(map(nt.jacobian(lambda x: x[:1] if x[0] > 0.0 else x), (X, -X))),
        "Return the same on every path, padded if need be",
        (
            lambda: list(map(nt.jacobian(lambda x: x * [1, 0, 0] if x[0] > 0 else x), (X, -X))),
            [np.diag([1.0, 0.0, 0.0]), np.eye(3)],
        ),
    ],
    # options
    "a mode": [
        lambda: TAPE.jacobian(X, mode="fwd"),
        "'forward' (a sweep an input), 'reverse' (a sweep an output) or None",
        (
            lambda: [TAPE.jacobian(X, mode=mode) for mode in ("forward", "reverse", None)],
            [2 * X] * 3,
        ),
    ],
    "progress": [
        lambda: TAPE(POINTS, progress=3),
        "True for a bar, or a function progress(done, total), or False",
        (lambda: TAPE(POINTS, progress=lambda done, total: None), SUMS),
        (lambda: TAPE(POINTS, progress=False), SUMS),
    ],
    "progress without its library": [
        lambda: _without("rich.progress", lambda: TAPE(POINTS, progress=True)),
        "or pass a function progress(done, total)",
        (
            lambda: _without(
                "rich.progress", lambda: TAPE(POINTS, progress=lambda done, total: None)
            ),
            SUMS,
        ),
    ],
    "how many recordings": [
        lambda: _with_paths("many", lambda: nt.grad(squares)(X)),
        "1 or more, or be left out for 1000",
        (lambda: _with_paths("1", lambda: nt.grad(squares)(X)), 2.0 * X),
        (lambda: _with_paths("", lambda: nt.grad(squares)(X)), 2.0 * X),
    ],
    "out of another structure": [
        lambda: PAIR(X, out=np.empty(3)),
        "Pass a tree of arrays like the result",
        (lambda: PAIR(X, out=(np.empty(3), np.empty(3))), pair(X)),
    ],
    "out of another shape": [
        lambda: TAPE.gradient(X, out=np.empty(4)),
        "Pass one, for example np.empty((3,))",
        (lambda: TAPE.gradient(X, out=np.empty((3,))), 2.0 * X),
    ],
    "out with gaps": [
        lambda: TAPE.gradient(X, out=np.empty(6)[::2]),
        "Pass a fresh one, or leave it out and assign the result",
        (lambda: TAPE.gradient(X, out=np.empty(3)), 2.0 * X),
        (lambda: TAPE.gradient(X), 2.0 * X),
    ],
    "out twice": [
        lambda: PAIR(X, out=(np.empty(3),) * 2),
        "Pass separate ones",
        (lambda: PAIR(X, out=(np.empty(3), np.empty(3))), pair(X)),
    ],
    "out that is an argument": [
        lambda: (lambda x: TAPE.gradient(x, out=x))(X.copy()),
        "Pass a fresh one, or leave it out and assign the result",
        (lambda: TAPE.gradient(X, out=np.empty(3)), 2.0 * X),
    ],
    # many points
    "out_axes that is no number": [
        lambda: nt.vmap(squares, out_axes="a"),
        "Give an int",
        (lambda: nt.vmap(lambda x: 2.0 * x, out_axes=1)(POINTS), 2.0 * POINTS.T),
    ],
    "out_axes that is none": [
        lambda: nt.vmap(squares, out_axes=1)(POINTS),
        "can be from -1 to 0",
        (lambda: [nt.vmap(squares, out_axes=axis)(POINTS) for axis in (-1, 0)], [SUMS] * 2),
    ],
    "an axis that is none": [
        lambda: nt.vmap(loss)(POINTS, 2.0),
        "Say None there for what all points share",
        (lambda: nt.vmap(loss, in_axes=(0, None))(POINTS, 2.0), 2.0 * SUMS),
    ],
    "too few in_axes": [
        lambda: nt.vmap(loss, in_axes=(0,))(POINTS, 2.0),
        "it must have one for each",
        (lambda: nt.vmap(loss, in_axes=(0, None))(POINTS, 2.0), 2.0 * SUMS),
    ],
    "in_axes of text": [
        lambda: nt.vmap(squares, in_axes="a")(POINTS),
        "a number, None, or a tree of them like the argument",
        (lambda: nt.vmap(squares, in_axes=-2)(POINTS), SUMS),
        (lambda: nt.vmap(lambda p: squares(p["x"]), in_axes=({"x": 0},))({"x": POINTS}), SUMS),
    ],
    "other numbers of points": [
        lambda: nt.vmap(loss)(POINTS, np.ones(3)),
        "Say None in in_axes for what all share",
        (lambda: nt.vmap(lambda x, a: squares(x) * a, (0, None))(POINTS, X)[:, 0], SUMS * X[0]),
    ],
    "no points inside": [
        lambda: nt.grad(lambda x: np.sum(nt.vmap(squares)(x)))(np.zeros((0, 3))),
        "Give it at least one",
        (lambda: nt.grad(lambda x: np.sum(nt.vmap(squares)(x)))(POINTS), 2.0 * POINTS),
    ],
    "out with blocks": [
        lambda: TAPE(iter([POINTS]), out=np.empty(2)),
        "Leave it out, and store each block as it comes",
        (lambda: blocks(TAPE(iter([POINTS]))), SUMS),
    ],
    "blocks of two kinds": [
        lambda: TWO(dask_of(POINTS), iter([np.ones(2)])),
        "Make both the same",
        (lambda: computed(TWO(dask_of(POINTS), dask_of(np.ones(2)))), SUMS),
        (lambda: blocks(TWO(iter([POINTS]), iter([np.ones(2)]))), SUMS),
    ],
    "lazy points of another structure": [
        lambda: TWO(dask_of(POINTS)),
        "Pass such arguments",
        (lambda: computed(TWO(dask_of(POINTS), 1.0)), SUMS),
    ],
    "lazy points of another shape": [
        lambda: TWO(dask_of(POINTS[:, :2]), 1.0),
        "Pass such an array",
        (lambda: computed(TWO(dask_of(POINTS), 1.0)), SUMS),
    ],
    "lazy points of other numbers": [
        lambda: TWO(dask_of(POINTS), np.ones(3)),
        "Pass arrays of as many points",
        (lambda: computed(TWO(dask_of(POINTS), np.ones(2))), SUMS),
    ],
    "iterators of other lengths": [
        lambda: list(TWO(iter([POINTS, POINTS]), iter([np.ones(2)]))),
        "must give as many blocks",
        (lambda: blocks(TWO(iter([POINTS]), iter([np.ones(2)]))), SUMS),
    ],
    # what a tape shows
    "a mode of a trace": [
        lambda: TAPE.trace_table(X, mode="forward"),
        "'primal' (values), 'tangent' (and derivatives along a direction) or 'adjoint'",
        (lambda: len(TAPE.trace_table(X, mode="tangent", seed=(X,)).rows) > 0, True),
    ],
    "adjoints without a seed": [
        lambda: VECTOR.trace_table(X, mode="adjoint"),
        "Pass seed=, a tree of weights like the result",
        (lambda: len(VECTOR.trace_table(X, mode="adjoint", seed=X).rows) > 0, True),
    ],
    "tangents without a seed": [
        lambda: TAPE.trace_table(X, mode="tangent"),
        "such as seed=(1.0, 0.0)",
        (
            lambda: (
                len(
                    nt.record(lambda x, y: x * y, 2.0, 5.0)
                    .trace_table(2.0, 5.0, mode="tangent", seed=(1.0, 0.0))
                    .rows
                )
                > 0
            ),
            True,
        ),
    ],
    "a seed of values": [
        lambda: TAPE.trace_table(X, seed=(X,)),
        "Pass mode='tangent' or mode='adjoint', or leave seed out",
        (lambda: len(TAPE.trace_table(X, mode="adjoint", seed=2.0).rows) > 0, True),
        (lambda: len(TAPE.trace_table(X).rows) > 0, True),
    ],
    "many seeds": [
        lambda: TAPE.trace_table(X, mode="adjoint", seed=np.ones(2)),
        "Pass a tree of weights of the shapes of the result",
        (lambda: len(TAPE.trace_table(X, mode="adjoint", seed=1.0).rows) > 0, True),
    ],
    "a graph of numbers without a point": [
        lambda: TAPE.graph(mode="adjoint"),
        "Pass the arguments to run the tape at, or leave mode and seed out",
        (lambda: len(TAPE.graph(X, mode="adjoint").nodes) > 0, True),
        (lambda: len(TAPE.graph().nodes) > 0, True),
    ],
    # files
    "a static argument that cannot be saved": [
        lambda: _saved(nt.record(lambda x, f: f(x), 2.0, np.sin)),
        "Close over it in the function instead of passing it, or pickle the tape",
        (lambda: _saved(nt.record(lambda x: np.sin(x), 2.0)).gradient(2.0), np.cos(2.0)),
        (
            lambda: _pickled(nt.record(lambda x, f: f(x), 2.0, np.sin)).gradient(2.0, np.sin),
            np.cos(2),
        ),
    ],
    "a class that is not given": [
        lambda: _saved(nt.record(lambda p: p.x * p.y, Pair(2.0, 5.0))),
        "types=[Pair]",
        (
            lambda: _saved(nt.record(lambda p: p.x * p.y, Pair(2.0, 5.0)), [Pair]).gradient(
                Pair(2.0, 5.0)
            ),
            (5.0, 2.0),
        ),
    ],
    "a class that has changed": [
        lambda: _saved(nt.record(lambda p: p.x, Pair(2.0, 5.0)), [namedtuple("Pair", "x y z")]),
        "load it with the class as it was then",
        (lambda: _saved(nt.record(lambda p: p.x, Pair(2.0, 5.0)), [Pair])(Pair(2.0, 5.0)), 2.0),
    ],
    "something that is no class": [
        lambda: _saved(TAPE, ["Pair"]),
        "give the classes",
        (lambda: _saved(TAPE, [Pair])(X), squares(X)),
    ],
    "two classes of one name": [
        lambda: _saved(TAPE, [Pair, namedtuple("Pair", "x y")]),
        "Give the one that the tape was recorded with",
        (lambda: _saved(TAPE, [Pair])(X), squares(X)),
    ],
    "a damaged file": [
        lambda: _saved(TAPE, change=lambda header: header.pop("result")),
        "Save the tape again from where it was recorded",
        (lambda: _saved(nt.record(squares, X))(X), squares(X)),
    ],
}


def _with_paths(most, run):
    before = os.environ.get("NUMTAPE_MAX_PATHS")
    os.environ["NUMTAPE_MAX_PATHS"] = most
    try:
        return run()
    finally:
        del os.environ["NUMTAPE_MAX_PATHS"]
        if before is not None:
            os.environ["NUMTAPE_MAX_PATHS"] = before


def _without(library, run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, library, None)
        return run()


def _pickled(tape):
    return pickle.loads(pickle.dumps(tape))


def _saved(tape, types=(), change=None):
    """A tape written to a file, in which the header may be changed, and read again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "some.tape"
        tape.save(path)
        if change is not None:
            header, arrays = container.read(path)
            change(header)
            del header["format"], header["version"]
            container.write(path, header, arrays)
        return nt.load(path, types=types)


@pytest.mark.parametrize("name", REMEDIES)
def test_remedies(name):
    """The error names a remedy, and what it says works."""
    refused, remedy, *followed = REMEDIES[name]
    with pytest.raises(nt.NumtapeError) as caught:
        refused()
    assert remedy in str(caught.value)
    assert followed
    for run, wanted in followed:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", nt.NumtapeWarning)
            _close(run(), wanted)


def _close(found, wanted):
    if isinstance(wanted, tuple | list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            _close(one, other)
    else:
        np.testing.assert_allclose(found, wanted, rtol=1e-13)


# Places that raise and are not above, by the function that they are in.
ELSEWHERE = {
    ("recorded.py", "__init__"),  # for who makes tapes by hand: test_validate.py
    ("batch.py", "options_of"),  # what Python says of a wrong keyword: test_misuse.py
    ("saved.py", "_broken"),  # what a damaged file may hold: test_saved.py has each
    ("saved.py", "_array"),  # caught, and one of these
    ("saved.py", "_decoded"),
}


def _places():
    """Every place in `numtape.functions` that raises an error of its own."""
    for path in sorted(SOURCES.glob("*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(function, ast.FunctionDef)
                and (path.name, function.name) not in ELSEWHERE
            ):
                for node in ast.walk(function):
                    raises = isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
                    if raises and getattr(node.exc.func, "id", "") != "_broken":
                        yield path.name, node.lineno, node.end_lineno


def test_every_place_that_raises_is_among_these(monkeypatch):
    monkeypatch.setenv("NUMTAPE_FULL_TRACEBACKS", "1")
    lines = set()
    for refused, *_ in REMEDIES.values():
        with pytest.raises(nt.NumtapeError) as caught:
            refused()
        for frame in traceback.extract_tb(caught.value.__traceback__):
            lines.add((Path(frame.filename).name, frame.lineno))
    missed = [
        f"{name}:{first}"
        for name, first, last in set(_places())
        if not any((name, line) in lines for line in range(first, last + 1))
    ]
    assert missed == []


def test_the_remedies_of_warnings():
    with pytest.warns(nt.ConstantResultWarning, match=r"return value \+ 0\.0 \* x, or filter"):
        nt.grad(lambda x: 3.0)(2.0)
    assert nt.grad(lambda x: 3.0 + 0.0 * x)(2.0) == 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nt.ConstantResultWarning)
        assert nt.grad(lambda x: 3.0)(2.0) == 0.0

    def many(power, exponents):
        gradient = nt.grad(power)
        return _with_paths("2", lambda: [gradient(2.0, n) for n in exponents])

    with pytest.warns(nt.PathsWarning, match="static arguments that change often by floats"):
        found = many(lambda x, n: x**n, range(1, 5))
    np.testing.assert_allclose(many(lambda x, n: x**n, [1.0, 2.0, 3.0, 4.0]), found, rtol=1e-15)
