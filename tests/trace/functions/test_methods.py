"""Methods and attributes of arrays and of numbers: each gives what NumPy's gives."""

import numpy as np
import pytest
from checks import assert_same_bits

import numtape as nt
from numtape.functions.trees import flatten

ARRAYS = {
    "T": lambda x: x.T * 2.0,
    "all": lambda x: x.all(axis=0) * x,
    "any": lambda x: (x > 0.0).any(axis=1, keepdims=True) * x,
    "argmax": lambda x: x.argmax(axis=1) * x[:, 0],
    "argmin": lambda x: x.argmin() * x,
    "argpartition": lambda x: np.sort(x.ravel()[x.argpartition(3, axis=None)[:3]]) * 2.0,
    "argsort": lambda x: x.argsort(axis=0) * x,
    "astype": lambda x: x.astype(int) * x + x.astype(bool) + x.astype(float),
    "choose": lambda x: (x > 0.0).astype(int).choose([x, x * x]),
    "clip": lambda x: x.clip(-0.5, 0.5) + x.clip(max=0.2),
    "compress": lambda x: x.compress([True, False, True], axis=0) * 2.0,
    "conj": lambda x: x.conj() * x.conjugate(),
    "copy": lambda x: x.copy("F") * 2.0,
    "cumprod": lambda x: x.cumprod(axis=1),
    "cumsum": lambda x: x.cumsum(),
    "diagonal": lambda x: x.diagonal(1) * 2.0,
    "dot": lambda x: x.ravel().dot(x.ravel()),
    "dtype": lambda x: np.ones(2, x.dtype) * x[0, :2],
    "fill": lambda x: _changed(x, lambda y: y.fill(x[0, 0])),
    "flat": lambda x: x.flat[3] * x + sum(x.flat),
    "flags": lambda x: x.T.flags.f_contiguous * x + x.flags.writeable,
    "flat assigned": lambda x: _changed(x, lambda y: y.flat.__setitem__(slice(1, 4), x[0, 0])),
    "flatten": lambda x: x.flatten("F") * 2.0,
    "imag": lambda x: x.imag + x,
    "item": lambda x: x.item(3) * x.item((1, 2)),
    "mT": lambda x: x.mT * 2.0,
    "max": lambda x: x.max(axis=0, keepdims=True) * x,
    "mean": lambda x: x.mean((0, 1)),
    "min": lambda x: x.min(),
    "nbytes": lambda x: x * x.nbytes + x.itemsize,
    "ndim": lambda x: x * x.ndim + len(x.shape) + x.size,
    "nonzero": lambda x: x[(x > 0.0).nonzero()] * 2.0,
    "partition": lambda x: _changed(x, lambda y: y.sort()),
    "prod": lambda x: x.prod(axis=1),
    "put": lambda x: _changed(x, lambda y: y.put([1, 5], x[0, :2])),
    "ravel": lambda x: x.ravel("F") * 2.0,
    "real": lambda x: x.real * 2.0,
    "repeat": lambda x: x.repeat(2, axis=1) * 2.0,
    "reshape": lambda x: x.reshape(4, 3, order="F") * x.reshape((4, -1)),
    "round": lambda x: (10.0 * x).round() + (x * 10.0).round(1),
    "searchsorted": lambda x: np.sort(x.ravel()).searchsorted([0.0, 0.5], side="right") * x[0, :2],
    "setflags": lambda x: _changed(x, lambda y: y.setflags(write=True)) * 2.0,
    "sort": lambda x: _changed(x, lambda y: y.sort(axis=0)),
    "squeeze": lambda x: x[None].squeeze(0) * 2.0,
    "std": lambda x: x.std(axis=1, ddof=1),
    "strides": lambda x: x.T.strides[0] * x,
    "sum": lambda x: x.sum(axis=(0, 1)) + x.sum(0),
    "swapaxes": lambda x: x.swapaxes(0, 1) * 2.0,
    "take": lambda x: x.take([0, 2], axis=1) * 2.0,
    "tolist": lambda x: [[v * 2.0 for v in row] for row in x.tolist()],
    "trace": lambda x: x.trace(),
    "transpose": lambda x: x.transpose(1, 0) * x.transpose((1, 0)) + x.transpose(),
    "var": lambda x: x.var(),
    "view": lambda x: _changed(x, lambda y: y.view().fill(x[0, 0])),
    "where method chain": lambda x: x.reshape(-1).cumsum().reshape(3, 4).T.max(axis=0),
}

NUMBERS = {
    "sum": lambda x: x.sum() + x.mean() + x.max() + x.min() + x.prod(),
    "var": lambda x: x.var() + x.std() + x,
    "item": lambda x: x.item() * x.copy() * x.T,
    "reshape": lambda x: x.reshape(1, 1) * x.ravel() * x.flatten(),
    "astype": lambda x: x.astype(int) * x + x.astype(float) + x.astype(bool),
    "round": lambda x: x.round() + x.round(1) + x,
    "clip": lambda x: x.clip(-0.1, 0.3) + x,
    "conj": lambda x: x.conj() * x.real + x.imag,
    "shape": lambda x: x * (1 + x.ndim + x.size + len(x.shape)) + x.nbytes,
    "squeeze": lambda x: x.squeeze() * x.transpose(),
    "argmax": lambda x: x.argmax() + x,
    "any": lambda x: x.any() * x + x.all(),
    "cumsum": lambda x: x.cumsum() * x.repeat(2),
    "tolist": lambda x: x.tolist() * 2.0,
}


def _changed(x, change):
    y = x.copy()
    change(y)
    return y


def _check(function, points):
    tape = nt.record(function, points[0])
    for x in points:
        try:
            actual = tape(x)
        except nt.BranchError:
            actual = nt.record(function, x)(x)
        for one, other in zip(flatten(actual)[0], flatten(function(x))[0], strict=True):
            assert_same_bits(one, other)


@pytest.mark.parametrize("name", ARRAYS)
def test_of_arrays(name):
    rng = np.random.default_rng(0)
    _check(ARRAYS[name], [rng.uniform(-1.5, 1.5, (3, 4)) for _ in range(3)])


@pytest.mark.parametrize("name", NUMBERS)
def test_of_numbers(name):
    _check(NUMBERS[name], [np.float64(0.7), np.float64(-1.3)])


def test_every_method_is_tried():
    """What a traced array has of ndarray's methods stands above, or is refused with a remedy."""
    found = []
    nt.record(lambda x: found.append(x) or x * 1.0, np.ones((2, 2)))
    names = {name for name in dir(np.ndarray) if not name.startswith("_")}
    refused = {"byteswap", "dump", "dumps", "resize", "tobytes", "tofile"}
    tried = {word for name in ARRAYS for word in name.split()} | {"conjugate", "itemsize"}
    tried |= {"shape", "size"}
    assert {name for name in names if hasattr(found[0], name)} - refused <= tried
    for name in refused:
        with pytest.raises(nt.UnsupportedError):
            nt.record(lambda x, name=name: getattr(x, name)(), np.ones(3))
    with pytest.raises(AttributeError, match="no rule"):
        nt.record(lambda x: x.base, np.ones(3))
