"""Products of arrays of every rank: values, slopes and refusals are NumPy's.

Each product is tried with operands of rank 0 (numbers and arrays) to 3 in both places,
traced at the left, at the right and at both.
"""

import itertools
import warnings

import numpy as np
import pytest

import numtape as nt

SHAPES = [(), (1,), (3,), (2, 3), (3, 2), (3, 3), (2, 2, 3), (2, 3, 3), (2, 3, 2)]

PRODUCTS = {
    "dot": np.dot,
    "method dot": lambda a, b: np.asarray(a).dot(b),
    "inner": np.inner,
    "outer": np.outer,
    "vdot": np.vdot,
    "matmul": np.matmul,
    "matmul of axes": lambda a, b: np.matmul(a, b, axes=[(-1, -2), (-2, -1), (0, -1)]),
    "operator": lambda a, b: a @ b if np.ndim(a) or np.ndim(b) else np.matmul(a, b),
    "in place": lambda a, b: _in_place(a, b),
    "tensordot": np.tensordot,
    "tensordot of 0": lambda a, b: np.tensordot(a, b, 0),
    "tensordot of 1": lambda a, b: np.tensordot(a, b, 1),
    "tensordot of -1": lambda a, b: np.tensordot(a, b, -1),
    "tensordot of axes": lambda a, b: np.tensordot(a, b, ([-1], [0])),
    "tensordot of last axes": lambda a, b: np.tensordot(a, b, (-1, -1)),
    "tensordot crosswise": lambda a, b: np.tensordot(a, b, ([0, 1], [1, 0])),
    "tensordot of one axis twice": lambda a, b: np.tensordot(a, b, ([0, 0], [0, 0])),
    "tensordot of unlike axes": lambda a, b: np.tensordot(a, b, ([0, 1], [0])),
    "kron": np.kron,
    "cross": np.cross,
    "cross of first axes": lambda a, b: np.cross(a, b, axis=0),
    "cross of other axes": lambda a, b: np.cross(a, b, 0, -1, 0),
    "convolve": np.convolve,
    "convolve same": lambda a, b: np.convolve(a, b, "same"),
    "convolve valid": lambda a, b: np.convolve(a, b, "valid"),
    "correlate": np.correlate,
    "correlate same": lambda a, b: np.correlate(a, b, "same"),
    "correlate full": lambda a, b: np.correlate(a, b, "full"),
    "multiply": np.multiply,
    "multiply.outer": np.multiply.outer,
    "subtract.outer": np.subtract.outer,
    "multi_dot": lambda a, b: np.linalg.multi_dot([a, b]),
    "multi_dot of three": lambda a, b: np.linalg.multi_dot([a, b, a]),
    "linalg.cross": lambda a, b: np.linalg.cross(a, b),
    "linalg.cross of first axes": lambda a, b: np.linalg.cross(a, b, axis=0),
    "linalg.matmul": lambda a, b: np.linalg.matmul(a, b),
    "linalg.outer": lambda a, b: np.linalg.outer(a, b),
    "linalg.tensordot": lambda a, b: np.linalg.tensordot(a, b, axes=1),
    "linalg.vecdot": lambda a, b: np.linalg.vecdot(a, b, axis=0),
    "vecdot": np.vecdot,
    "vecdot kept": lambda a, b: np.vecdot(a, b, axis=0, keepdims=True),
    "vecdot of axes": lambda a, b: np.vecdot(a, b, axes=[0, -1, ()]),
    "vecdot of two axes": lambda a, b: np.vecdot(a, b, axes=[0, -1]),
}
if hasattr(np, "matvec"):
    PRODUCTS |= {
        "matvec": np.matvec,
        "matvec of axes": lambda a, b: np.matvec(a, b, axes=[(-1, -2), -1, 0]),
        "vecmat": np.vecmat,
        "vecmat of axes": lambda a, b: np.vecmat(a, b, axes=[0, (-1, -2), 0]),
    }
PATTERNS = """
    i,i i,i-> i,i->i i,j i,j->ji ij,j ij,jk ij,kj ij,jk->ki ...,... ...i,...i i...,i... ...i,i
    ...ij,...jk ij,ij ij,ij->i ii,i ii,ij->j ijk,ik ijk,k ijk,jk->i ijk,kj->ik ijk,ikl->ijl , ,i
    i, ij, ...j,j... i...,... ij,j-> ijk,ijk ijk,lmk->ijlm i,ijk->jk
"""
for _pattern in PATTERNS.split():
    PRODUCTS[f"einsum {_pattern}"] = lambda a, b, p=_pattern: np.einsum(p, a, b)
PRODUCTS["einsum optimized"] = lambda a, b: np.einsum("...ij,...jk", a, b, optimize=True)


def _in_place(a, b):
    """What a view of the first operand sees of it."""
    a = np.multiply(a, 1.0)
    view = a[:1] if np.ndim(a) else a
    a @= b
    return 2.0 * view


def _operands(shape, seed):
    rng = np.random.default_rng([seed, *shape])
    array = np.asarray(rng.uniform(0.5, 2.0, shape) * rng.choice([-1.0, 1.0], shape))
    return [array] if shape else [float(array), array]


def _tried(function, *arguments):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return function(*arguments), None
        except (ValueError, IndexError, TypeError, np.linalg.LinAlgError) as error:
            return None, error


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_every_rank(name):
    product = PRODUCTS[name]
    for shapes in itertools.product(SHAPES, repeat=2):
        for a, b in itertools.product(_operands(shapes[0], 1), _operands(shapes[1], 2)):
            for traced in ((0,), (1,), (0, 1)):
                _compare(product, [a, b], traced)


def _compare(product, operands, traced):
    def function(*arguments):
        given = list(operands)
        for place, argument in zip(traced, arguments):
            given[place] = argument
        return product(*given)

    arguments = [operands[place] for place in traced]
    expected, refusal = _tried(function, *arguments)
    tape, error = _tried(nt.record, function, *arguments)
    if isinstance(error, nt.TraceError) and "plain array" in str(error):
        return  # a plain array that would have to hold traced values
    if refusal is not None:
        assert isinstance(error, (type(refusal), ValueError)), (arguments, refusal, error)
        return
    assert error is None, (arguments, error)
    value, _ = _tried(tape, *arguments)
    assert np.shape(value) == np.shape(expected)
    np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-14)
    if not np.size(expected):
        return
    found, _ = _tried(lambda: tape.jacobian(*arguments, argnums=tuple(range(len(arguments)))))
    for place, jacobian in enumerate(found):
        slopes = _differences(function, arguments, place)
        np.testing.assert_allclose(
            np.reshape(jacobian, slopes.shape), slopes, rtol=1e-12, atol=1e-13
        )


def _differences(function, arguments, place):
    """Central differences by one argument, exact because no product is of higher degree than 2."""
    columns = []
    for unit in np.eye(np.size(arguments[place])):
        ends = []
        for sign in (1.0, -1.0):
            moved = arguments[place] + sign * unit.reshape(np.shape(arguments[place]))
            is_number = isinstance(arguments[place], float)
            given = [*arguments]
            given[place] = float(moved) if is_number else np.asarray(moved)
            ends.append(np.ravel(_tried(function, *given)[0]))
        columns.append((ends[0] - ends[1]) / 2.0)
    return np.array(columns).T


def test_einsum_of_unlike_extents_is_refused():
    with pytest.raises(ValueError, match="axes of one letter have 3 and 2 elements"):
        nt.record(lambda x: np.einsum("ij,ij", x, np.ones((2, 3))), np.ones((3, 2)))


def test_a_product_in_place_keeps_its_shape():
    def function(x):
        y = x[:, :1].copy()
        y @= np.ones((1, 3))
        return y

    with pytest.raises(ValueError, match="Write x = x @ y"):
        nt.record(function, np.ones((2, 3)))
