"""Random NumPy programs, as source text: what people write, one statement after another.

A program is a function of a vector x, of a matrix y with two rows, and of a float t.
A writer draws one statement after the other from the templates below and runs it with
plain NumPy at a sample point, so that it knows the shape of every name, and so that a
statement that does not fit is left out. Bodies of branches and loops may give a name
another value, never another shape.

In a template ``{s}`` stands for a scalar, ``{v}`` for a vector, ``{m}`` for a matrix,
``{r}`` for either array, ``{a}`` for any of them, ``{b}`` for anything that broadcasts
with the first operand, ``{k}`` for an integer that depends on the arguments, ``{c}`` for a
number, ``{n}`` for a small count, ``{f}`` for a Python float and ``{q}`` for a condition.
A digit tells two apart; the same name twice is the same operand. A template that begins with
``~`` agrees with NumPy to rounding, by the page `docs/explanation/recording.md`, or is one of
which NumPy itself gives another last digit or sign of zero for one element than for several
(powers, fmin, fmax); the others agree bit for bit.
"""

import functools
import linecache
import math
import re
import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.special
from hypothesis import strategies as st

__all__ = ["POINT_KINDS", "SIZES", "Program", "draw_points", "programs"]

SIZES = [2, 3, 1, 4, 10, 13, 0]  # up to 8 elements are recorded as scalars
POINT_KINDS = ["normal", "ties", "kinks", "special"]

UNARY = """
{a} * 0.5
-{a}
np.sin({a})
np.cos({a})
np.tanh({a})
np.arctan({a})
np.exp(-{a} * {a})
np.exp(0.3 * {a})
np.sqrt(1.0 + {a} * {a})
np.sqrt(np.abs({a}))
1.0 / (2.0 + {a} ** 2)
np.log(1.5 + np.sin({a}))
np.log1p({a} ** 2)
np.expm1(np.tanh({a}))
np.abs({a})
abs({a})
~0.3 * {a} ** 3 / (1.0 + {a} ** 4)
~(1.2 + np.sin({a})) ** {c}
~(1.5 + np.tanh({a})) ** -2
~2.0 ** np.tanh({a})
np.square({a}) * 0.25
np.maximum({a}, {c})
np.minimum({c}, {a})
np.clip({a}, -1.0, 0.5)
np.clip({a}, None, {c})
np.where({a} > {c}, np.sin({a}), {a} * {a})
np.where({a} > 0.0, np.sqrt(np.abs({a})), 0.25)
np.where({a} > 0.0, np.log(np.abs({a}) + 1e-3), {c})
np.where(({a} > -0.5) & ({a} <= {c}), {a} * 2.0, 0.1)
np.where(~({a} < {c}), 1.0, {a})
np.sign({a}) * {a}
np.floor({a}) * 0.5 + {a}
np.ceil({a}) - {a}
np.rint({a}) * {a}
np.trunc({a}) + 0.5 * {a}
np.mod({a}, 1.3)
{a} % 0.7
{a} // 0.6 + {a}
np.fmod({a}, 0.9)
np.arcsinh({a})
np.cbrt(2.0 + np.sin({a}))
np.hypot({a}, 0.7)
np.sinc({a})
np.deg2rad({a}) * 10.0
np.logaddexp({a}, {c})
np.heaviside({a}, 0.5) * {a}
np.copysign({a}, {c})
np.reciprocal(2.0 + np.cos({a}))
np.nan_to_num({a}, nan=0.5, posinf=1.0, neginf=-1.0)
np.where(np.isnan({a}), 0.5, {a})
np.where(np.isfinite({a}), {a}, 0.0)
~np.fmax({a}, {c})
scipy.special.erf({a})
scipy.special.expit({a})
scipy.special.gammaln(1.5 + {a} ** 2)
np.arcsin(np.tanh({a}))
np.sinh(np.tanh({a})) + np.cosh(np.sin({a}))
np.log2(1.1 + {a} ** 2)
~np.float_power(1.5 + np.sin({a}), 1.5)
np.positive({a}) + 0.0
~abs({a}) ** 2
np.square(np.abs({a}))
np.maximum({a}, -{a}) * 0.5
np.cos(np.abs({a}))
np.sqrt(np.square({a}))
"""

BINARY = """
{a} + {b}
{a} - 0.5 * {b}
{b} - {a}
{a} * np.tanh({b})
{a} / (1.5 + np.sin({b}))
np.minimum({a}, {b})
np.maximum({a}, {b} + 0.123)
~np.fmin({a}, {b})
np.where({a} > {b}, np.sin({a}), np.cos({b}))
np.where({a} == {b}, 1.0 + {a}, {b})
np.where(({a} > {b}) | ({b} < 0.5), {a}, -{b})
np.where({a} > 0.0, {a} / (0.1 + np.abs({b})), {b})
np.arctan2({a}, 2.0 + {b} * {b})
np.arctan2({a}, {b})
np.logaddexp({a}, {b})
np.hypot({a}, {b})
~(1.1 + np.tanh({a})) ** np.sin({b})
~np.power(1.1 + np.abs({a}), np.tanh({b}))
np.copysign({a}, {b})
np.mod({a}, 1.5 + np.sin({b}))
np.clip({a}, -0.5, 0.1 + np.abs({b}))
{a} * {b} * 0.3
({a} > {b}) * {a}
({a} >= {b}) + {b} * 0.5
np.heaviside({a} - {b}, 1.0) * {b}
np.divmod({a}, 1.1 + np.cos({b}) ** 2)[1]
np.square({a} - {b}) * 0.1
np.square(np.hypot({a}, {b})) * 0.1
({a} > {b}) * ({b} > 0.0) * 0.5
(({a} > {b}) + ({b} > 0.0)) * {a}
np.where({a} > 0.0, {a} > {b}, {b} > {c}) * 0.25
"""

SHAPES = """
{v}[::-1]
{r}[::2]
{r}[-1:]
{v}[1:] * {v}[:-1]
{r}.T
{r}.copy()
{r}.ravel()
np.ravel({r}, order="F")
{m}[:, 0]
{m}[0]
{m}[1] * {m}[0]
{m}[:, ::-1]
{m}[::-1, 1:]
{r}.reshape(-1, 1)
{r}.reshape(1, -1)
{v}[None, :] * {v}[:, None]
np.outer({v}[:4], np.sin({v2}[:3]))
np.concatenate([{v}, {v2}])
np.concatenate([{m}, {m2}], axis=0)
np.concatenate([{m}, {m}[:, :1]], axis=1)
np.stack([{v}, np.cos({v})])
np.stack([{s}, {s2}, {c}])
np.hstack([{v}, {s}])
~np.array([{s}, {s2}, {s3}])
np.append({v}, {s})
np.roll({r}, 1)
np.roll({m}, -1, axis=0)
np.flip({r})
np.repeat({v}, 2)
np.tile({v}, 2)
np.take({v}, [0, -1, 0])
{v}[[0, -1, 0]]
{v}[np.arange(len({v}) + 2) * 3 % len({v})]
{m}[[0, 1, 0]]
{m}[[1, 0], [0, -1]]
np.broadcast_to({v}, (2, len({v}))) * 1.0
np.broadcast_to({s}, (3,)) + {c}
np.pad({v}, 1)
np.pad({v}, (0, 2), mode="edge")
np.diff({v})
np.ediff1d({v})
np.cumsum({r})
np.cumsum({m}, axis=0)
np.cumsum({m}, axis=1)
np.cumprod(1.0 + 0.1 * np.tanh({v}))
np.maximum.accumulate({v})
np.sort({v})
np.sort({m}, axis=0)
np.sort({m})
{v}[np.argsort({v})]
{v}[np.argsort(-{v}, kind="stable")]
np.take_along_axis({m}, np.argsort({m}, axis=1), axis=1)
np.diag({m})
np.diag({v}[:4])
np.tril({m})
np.triu({m}, 1)
np.squeeze({r})
np.expand_dims({v}, 0)
np.atleast_2d({r})
np.swapaxes({m}, 0, 1)
np.zeros_like({r}) + {s}
np.ones_like({r}) * {s}
np.full_like({r}, 0.5) * {s}
{r} - np.mean({r})
{m} - np.mean({m}, axis=0)
{m} / (2.0 + np.sum(np.abs({m}), axis=1, keepdims=True))
np.interp({v}, [-1.0, 0.0, 0.5, 2.0], [0.3, 1.0, -0.2, 0.4])
np.gradient({v})
np.split({v}, [1])[1]
np.delete({v}, 0)
np.insert({v}, 1, {s})
np.unwrap({v})
np.nancumsum({v})
np.lib.stride_tricks.sliding_window_view({v}, 2)
~np.convolve({v}, [0.5, 0.25, -0.1])
np.kron({v}[:3], np.array([1.0, -0.5]))
~np.vander({v}[:3], 3)
np.fft.rfft({v}).real
~np.abs(np.fft.fft({v}))
np.meshgrid({v}[:3], {v2}[:2])[0]
np.trapezoid({m}, axis=1)
np.select([{r} > 0.5, {r} > -0.5], [np.sin({r}), {r} ** 2], -0.3)
np.choose([0, 1, 0], [{s}, {s2}])
np.linspace({s}, {s2}, 4)
np.piecewise({v}, [{v} > 0.0], [np.sin, np.cos])
np.partition({v}, 0)[:1]
np.searchsorted(np.sort({v}), {v2}) * 0.1
np.digitize({v}, [-0.5, 0.5]) * {v}
np.array({s})
{v}[0, ...]
{v}[:1].squeeze()
{v}[1:2].reshape(())
~np.asarray({r})
np.atleast_1d({s})
np.diag({m} @ {m}.T) * 0.1
np.einsum("ij->ji", {m})
np.einsum("ii->i", np.outer({v}, {v}))
np.sqrt((({v}[:, None] - {v}[None]) ** 2))
np.convolve({v} > {c}, {v} > 0.0) * {s}
np.cumsum({v} > {c}) * {s}
np.cumsum({m} > {c}, axis=0) * {s}
(np.argsort({v}) * 50).astype(np.int8) * 0.01 * {s}
(np.argsort({v}) * 100).astype(np.uint8) * 0.01 * {s}
np.argsort({v}) // 2 * {s}
np.argsort({v}) % 3 * {s}
np.bincount(np.argsort({v}) % 3, minlength=3) * {s}
np.diff({v} > {c}) * {s}
np.logical_xor({r} > {c}, {r} < 0.5) * {s}
np.insert({v}, np.argmax({v}), {s})
np.delete({v}, np.argmin({v}))
np.round({r}, 1)
"""

REDUCTIONS = """
np.sum({r})
{r}.sum(axis=0)
np.sum({r}, axis=-1)
np.sum({m}, axis=(0, 1))
np.sum({m}, axis=1, keepdims=True)
np.mean({r})
np.mean({r}, axis=-1)
np.max({r})
np.min({r}, axis=0)
{r}.max() + {r}.min()
np.amax({m}, axis=1)
np.prod(1.0 + 0.1 * np.tanh({r}))
np.prod({v})
np.prod({m}, axis=0)
np.std({r})
np.var({r}, axis=0)
np.ptp({v})
np.median({v})
np.quantile({v}, 0.3)
np.percentile({v}, [25.0, 60.0])
np.linalg.norm({v})
np.linalg.norm({m})
np.linalg.norm({v}, 1)
np.linalg.norm({v}, np.inf)
np.nansum({r})
~np.nanmax({v})
scipy.special.logsumexp({v})
{v}[0]
{v}[-1] * 0.5
{m}[0, -1]
{m}[1][0]
sum({v})
max({v})
min({s}, {s2})
max({s}, {s2}, {c})
sorted([{s}, {s2}, {s3}])[1]
{v}[np.argmax({v2}) % len({v})]
{v}[np.argmin({v})]
{m}[np.argmax({m}[:, 0])]
{m}[0, np.argmin({m}[1])]
{v}[int(abs({s})) % len({v})]
{v}[int(np.floor({s})) % len({v})]
{v}[{k} % len({v})]
{v}[np.searchsorted(np.sort({v}), {s}) % len({v})]
np.sum({v}[{v} > {c}])
np.sum({r}[{r} <= {s}])
np.sum({r} > {c}) * {s}
np.count_nonzero({r} > {c}) * 0.25
np.mean({v} > {s}) * {s}
np.sum(np.where({r} > 0.0, {r}, 0.0))
np.trace({m})
np.cumsum({v})[-1]
np.any({r} > {c}) * {s}
np.average({v})
np.trapezoid({v})
np.nanmean({v})
round({s}) * 0.5 + {s}
int({s}) * {s}
float(len({v})) * {s}
{s} if {q} else {s2}
np.sin({s}) if {q} else {c}
({s} and {s2}) if {q} else {s}
{s} or {s2}
np.unique({v})[0]
np.polyval([0.5, -0.25, 0.1], {s})
np.polyval({v}[:3], {s})
~np.linalg.norm({v}) ** 2
~np.linalg.norm({m}) ** 2
~np.std({v}) ** 2
np.sqrt(np.sum({r} ** 2))
np.sum(np.sqrt(np.sum({m} ** 2, axis=0)))
~np.cos(np.linalg.norm({v}))
(({v} > {c}) @ ({v2} > 0.0)) * {s}
np.dot({v} > {c}, {v} < {c2}) * 0.5
np.inner({v} > {c}, {v2} > {c}) * {s}
np.einsum("i,i->", {v} > {c}, {v} > 0.0) * 0.5
np.vdot({m} > {c}, {m} > 0.0) * 0.5
np.max({r} > {c}) * {s}
np.mean({v}, where={v2} > {c}) if np.any({v2} > {c}) else {s}
np.sum({r}, where={r} > {c})
np.sum(np.argsort({v}) ** 2) * 0.01
{k} // 2 * {s}
{k} % 3 * 0.5
-{k} * {c}
abs({k} - 2) * 0.5
{k} / 4
{k} ** 2 * 0.1
round({s}, 1)
round({f}, 1) * {c}
{{"0": {s}, "1": {s2}}}.get(str({k} % 2), {c})
float(str({k})) * 0.5
float(f"{{{k}}}") * 0.25
len("%s" % ({s} > {c})) * 0.25
len(str({r} > {c})) * 0.01
[{s}, {s2}, {c}][{k} % 3]
{f} * 0.5 + {f} % 1.5
{f} / 2.0 - {f} // 0.7
"""

ALGEBRA = """
~{v} @ {v}
~np.dot({v}[:2], {v2}[:2])
~{m} @ {m}.T
~{m}.T @ np.tanh({m})
~{m} @ {v}
~{v}[:2] @ {m}
~np.inner({v}, np.cos({v}))
~np.vdot({m}, {m})
~np.einsum("ij,ij->i", {m}, {m})
~np.tensordot({v}, {v}, axes=1)
~np.linalg.solve({m} @ {m}.T + 2.0 * np.eye(len({m})), {m})
~np.linalg.inv(np.tanh({m}) @ np.tanh({m}).T + 2.0 * np.eye(len({m})))
~np.linalg.det({m} @ {m}.T * 0.2 + np.eye(len({m})))
~np.linalg.slogdet({m} @ {m}.T + np.eye(len({m})))[1]
~np.linalg.cholesky({m} @ {m}.T + 2.0 * np.eye(len({m})))
~np.linalg.eigvalsh({m} @ {m}.T + np.diag(np.arange(1.0, 1.0 + len({m}))))
~np.linalg.matrix_power(0.3 * np.tanh({m} @ {m}.T), 3)
~np.linalg.lstsq(np.eye({m}.shape[1], 2) + {m}.T[:, :2] * 0.1, {v}, rcond=None)[0]
~np.linalg.qr({m}.T + np.eye({m}.shape[1], {m}.shape[0]))[1]
~np.linalg.svd({m} + np.eye(*{m}.shape), compute_uv=False)
~np.linalg.pinv({m} + 2.0 * np.eye(*{m}.shape))
~np.cross(np.stack([{s}, {s2}, 1.0]), np.stack([0.5, {s}, {s2}]))
~np.cov({m})
~np.corrcoef({m}[0], {m}[1] + np.arange({m}.shape[1]))[0]
"""

INTEGERS = """
np.argmax({r})
np.argmin({v})
int({s} * 2.0)
np.count_nonzero({r} > {c})
np.sum({r} > {c})
np.argsort({v})[0]
np.searchsorted([-1.0, 0.0, 1.0], {s})
{k} + 1
np.floor({s}).astype(int)
int(str({k})[-1])
int("%d" % {k})
np.sum(({r} > {c}) * ({r} < 2.0))
"""

CONDITIONS = """
{s} > {c}
{s} < {s2}
{v}[0] >= {v2}[-1]
np.sum({r}) > {c}
np.any({r} > {c})
np.all({r} < {c})
np.max({r}) > 2.0 * abs(np.min({r2}))
{s} == {c}
{s} != {s2}
{s}
0.0 < {s} < {c}
not {q1}
({q1} and {q2})
({q1} or {q2})
bool({s} <= {c})
np.argmax({v}) == 0
int({s}) % 2
np.isnan({s})
{k} > 0
{k} == {k2}
np.array_equal({v}, np.sort({v}))
({r} > {c}).all()
np.logical_and({s} > {c}, {s2} > {c2})
"""

# What gives a name another value of the same shape: alone, in a branch or in a loop.
CHANGES = """
{r} *= 0.5
{r} += {s}
{r} -= {c}
{r} /= 1.7
{r}[0] = {s}
{r}[-1] *= {s}
{r}[1:] = 0.5 * {r}[:-1]
{r}[::2] = {c}
{r}[...] = np.sin({r})
{r}[1:] += 0.5 * {r}[:-1]
{r}[:-1] -= 0.3 * {r}[1:]
{m}[:, 0] = {s}
{m}[0] = {m}[1]
{m}[[1, 0]] = {m}[[0, 1]]
{m}.T[0] = 0.25
{r}[{r} > {c}] = {s}
{r}[{r} < {c}] *= -0.5
{r}[{r} <= {s}] = {c}
{v}[np.argmax({v})] = {s}
{v}[np.argsort({v})] = {v} * 0.5
{v}[{k} % len({v})] += {s}
{r}.flat[0] = {s}
{r} **= 2
{s} += 0.25
np.sin({r}, out={r})
np.add({r}, {s}, out={r})
np.multiply({r}, {r}, out={r})
np.maximum({r}, {c}, out={r})
np.cumsum({v}, out={v})
{v}.sort()
{r}.fill({s})
np.copyto({r}, {s})
np.copyto({r}, {c}, where={r} > 0.0)
np.put({v}, [0, -1], {s})
np.fill_diagonal({m}, {s})
np.clip({r}, -0.7, 0.6, out={r})
{v}[0], {v}[-1] = {v}[-1], {v}[0]
{s} = {s} * 0.5 + {s2}
{s} = np.sin({s}) * {s2}
{s} += {v}[0]
{s} = abs({s}) - {c}
{s} = {v}[np.argmax({v})] * 0.5
{s} = max({s}, {s2})
{s} *= -0.75
{s} = np.sqrt(1.0 + {s} * {s})
{s} -= np.sum({r})  * 0.125
{s} = np.where({s} > {c}, {s}, {s2})
{s} = {s2}
"""

# What may raise, which exceptions, and what is taken then.
RISKS = """
{v}[{k}] | IndexError
{m}[0, {k}] * 0.5 | IndexError
{s} * {v}[int({s2} * 3.0)] | (IndexError, ValueError, OverflowError)
{v}[np.searchsorted([-1.0, 0.0, 1.0], {s})] | IndexError
np.take({v}, [0, {k}]).sum() | IndexError
[0.5, {s}, {c}][{k}] | IndexError
{s} * int({s2} * 2.0) | (ValueError, OverflowError)
int(np.log({s})) * 0.5 | (ValueError, OverflowError)
round(1.0 / {s}) * 0.1 | (ValueError, OverflowError)
list(range({k}))[1] * {s} | IndexError
{c} / {f} | ZeroDivisionError
{c} % {f} | ZeroDivisionError
{f} ** -1 | ZeroDivisionError
10.0 ** ({f} * 200.0) | OverflowError
{f} / ({f} - 0.5) | ZeroDivisionError
np.choose({k}, [{s}, {s2}, {c}]) | ValueError
{{"0": {s}, "1": {c}}}[str({k})] | KeyError
{{0: {s}, 1: {c}}}[{k}] | KeyError
np.delete({v}, {k}).sum() | IndexError
np.sum(np.bincount([0, {k}])) * 0.1 | ValueError
np.linalg.inv(np.diag({v}))[0, 0] | np.linalg.LinAlgError
"""

# Views; what shares no memory is written to all the same.
VIEWS = """
{v}[::-1]
{v}[1:]
{v}[0, ...]
{v}[:1].squeeze()
{v}[:1].reshape(())
{m}.T
{m}[0]
{m}[:, -1]
{m}[0, 0, ...]
{r}[...]
{r}.view()
{r}.real
{r}.reshape(-1)
{r}.ravel()
np.ravel({r})
{m}.T.ravel()
{m}.T.reshape(-1)
np.reshape({r}, (1, -1))
{r}.astype(float, copy=False)
{r}.astype(float)
np.einsum("i->i", {v})
np.einsum("ij->ji", {m})
np.einsum({m}, [0, 1], [1, 0])
np.einsum("ii->i", {m}[:2, :2])
np.atleast_2d({r})
np.atleast_1d({r})
np.expand_dims({r}, 0)
np.swapaxes({m}, 0, 1)
np.moveaxis({m}, 0, -1)
np.flip({r})
np.rot90({m})
np.squeeze({r})
np.split({v}, [1])[0]
np.split({m}, 2)[1]
np.hsplit({m}, [1])[0]
np.transpose({r})
np.copy({r})
np.positive({r})
np.roll({v}, 1)
{r}.copy()
{v}[[0, -1]]
"""

# The same array by a function that may copy: the array is changed, and then it is read.
SAME = """
np.asarray({r})
np.asanyarray({r})
np.ascontiguousarray({r})
np.require({r})
np.array({r}, copy=None)
np.array({r})
np.asarray({m}.T)
"""

# Where no protocol asks: Python's own functions, lists, numbers.
PYTHONS = """
~math.exp(-{s} * {s})
~math.sin({s}) * math.cos({s2})
~math.sqrt(1.0 + {s} * {s})
~math.log(1.5 + math.sin({s}), 2)
~math.hypot({s}, {s2}, 0.5)
~math.atan2({s}, 2.0 + {s2} * {s2})
~math.pow(1.2 + math.tanh({s}), {c})
~math.fsum({v})
~math.prod([{s}, {s2}, 0.5])
~math.dist([{s}, 1.0], [{s2}, 0.25])
~math.sin({f}) / 2.0
~statistics.mean([{s}, {s2}, {c}])
~sum(map(math.tanh, {v}))
~functools.reduce(lambda a, b: 0.5 * a + math.tanh(b), {v}, 0.0)
~np.vectorize(lambda a: math.exp(-a * a))({r})
np.vectorize(lambda a, b: a * 0.5 if a > b else b)({v}, {s})
sorted([{s}, {s2}, {c}], key=lambda a: -a)[1]
max([{s}, {s2}, 0.25], key=abs)
math.copysign({s}, {s2}) * 0.5
{s} if math.isfinite({s}) and not math.isnan({s2}) else {c}
math.floor({s}) * 0.25 + math.trunc({s2}) * 0.5
float({s}) * 0.5 + {s2}
float(np.sum({r})) * 0.25
float({k}) * 0.5
float({s} > {c}) * {s2}
np.float64({s}) * 0.5
np.array([{s}, {s2}, {c}])
np.array([{s}, {c}], dtype=float) * {s2}
np.array([[{s}, {c}], [{c2}, {s2}]])
np.array([{v}, 2.0 * {v}])
np.asarray({r}, dtype=float) * 0.5
np.concatenate([{v}, [{c}]], dtype=float)
np.full(3, {s}) * {s2}
np.fromiter((a * 0.5 for a in {v}), float)
np.mean([{s}, {s2}])
np.max([{s}, {c}, {s2}])
(1.0 if isinstance({r}, np.ndarray) and type({r}) is np.ndarray else 0.5) * {s}
(1.0 if isinstance({s}, float) else 0.5) * {s2}
(1.0 if np.issubdtype(np.array([{s}, {s2}]).dtype, np.floating) else 0.5) * {s}
"""

# Arrays of numbers that a function makes, of the shape of another, and what is written to them.
MAKERS = """
np.zeros({r}.shape)
np.ones({r}.shape, dtype=float)
np.full({r}.shape, {c})
np.zeros({r}.T.shape, order="F").T
np.arange(float({r}.size)).reshape({r}.shape)
np.linspace(-1.0, 1.0, {r}.size).reshape({r}.shape)
np.zeros((2, *{r}.shape))[1]
np.zeros({r}.size + 1)[1:].reshape({r}.shape)
np.array(np.ones({r}.shape).tolist())
0.5 * np.ones({r}.shape)
np.where(np.arange({r}.size).reshape({r}.shape) > 1, 0.5, 0.0)
"""

FILLS = """
{w}[...] = {r}
{w} += {r}
{w} *= 0.5
{w}[0] = {w}[-1]
{w}[-1] = {s}
{w}[-1] *= {s}
{w}[{r} > {c}] = {s}
{w}[{r} > {c}] = 1.0
{w}.flat[0] = {s}
{w}.fill({s})
np.add({r}, 0.25, out={w})
np.copyto({w}, {r})
np.copyto({w}, {s}, where={r} > 0.0)
np.add.at({w}, 0, {s})
for i, e in enumerate({r}): {w}[i] = e * 0.5
for i in range(len({r})): {w}[i] = {r}[-1 - i]
for i in range(1, len({r})): {w}[i] = {w}[i - 1] * 0.5 + {r}[i]
"""

NUMBERS = ["0.5", "0.0", "1.0", "-0.25", "1.7", "-1.0", "2.0", "0.1", "3.0"]


def _lines(text: str) -> list[str]:
    return text.strip().splitlines()


EXPRESSIONS = {
    "unary": _lines(UNARY),
    "binary": _lines(BINARY),
    "shapes": _lines(SHAPES),
    "reductions": _lines(REDUCTIONS),
    "algebra": _lines(ALGEBRA),
    "pythons": _lines(PYTHONS),
}
_KINDS = ["unary", "binary", "shapes", "reductions", "algebra", "change", "if", "for", "while"]
_KINDS += ["integer", "binary", "shapes", "reductions", "change", "if", "elements", "try", "if"]
_KINDS += ["risk", "view", "same", "integer", "risk", "view", "fresh", "pythons", "fresh"]
_BRANCHES = ["if", "while", "integer", "if", "elements", "for", "change", "while"] * 2
_PLACE = re.compile(r"\{(\w)(\d?)\}")
_SORTS = ["sort", "median", "quantile", "percentile", "partition", "unique"]
_NAMESPACE = {"np": np, "scipy": scipy, "math": math}
_NAMESPACE |= {"statistics": statistics, "functools": functools}


@dataclass(frozen=True)
class Program:
    """A function of x (size), y (2, size) and t, as source text.

    Attributes
    ----------
    source : str
    size : int
    exact : bool
        Whether its value is NumPy's bit for bit.
    """

    source: str
    size: int
    exact: bool

    @property
    def sorts(self) -> bool:
        """Whether it may order zeros of both signs: NumPy's argsort and sort differ there."""
        return any(name in self.source for name in _SORTS)

    @cached_property
    def function(self) -> Callable:
        """The program, compiled; with its source where numtape finds it."""
        namespace, name = dict(_NAMESPACE), f"<program {hash(self.source)}>"
        # (Entries without a time are not compared with a file.)
        linecache.cache[name] = (len(self.source), None, self.source.splitlines(True), name)
        exec(compile(self.source, name, "exec"), namespace)
        return namespace["program"]


def draw_points(kind: str, size: int, count: int, seed: int, zeros: bool = True) -> list[tuple]:
    """Points (x, y, t): ordinary numbers, few different ones, or all that a float can be."""
    rng = np.random.default_rng(seed)
    points = []
    for _ in range(count):
        z = rng.normal(size=3 * size + 1)
        if kind == "ties":
            z = rng.integers(-3, 4, len(z)) / 2.0
            z[rng.random(len(z)) < 0.1] = -0.0
        elif kind == "kinks":
            z = rng.choice([0.0, 0.0, 0.0, 1.0, -1.0, 0.5], len(z))
        elif kind == "special":
            odd = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 5e-324, -1e-310, 1e300, -1e155]
            z = np.where(rng.random(len(z)) < 0.4, rng.choice(odd, len(z)), z)
        if not zeros:
            z[z == 0.0] = 1.0
        points.append((z[:size], z[size:-1].reshape(2, size), float(z[-1])))
    return points


class _Misfit(Exception):
    """A statement for which there are no operands, or that does not run."""


class _Writer:
    """Writes one program.

    Parameters
    ----------
    choose : callable
        ``choose(n)`` is a number below n.
    size : int
    kinds : list of str
        Of the statements to choose among.
    """

    def __init__(
        self, choose: Callable[[int], int], size: int, kinds: list[str] | None = None
    ) -> None:
        self._choose = choose
        self._kinds = kinds or _KINDS
        self._size = size
        self._lines: list[str] = []
        self._count = 0
        self.exact = True
        self._names = self._run([])

    def _run(self, lines: list[str]) -> dict:
        names = dict(zip("xyt", draw_points("normal", self._size, 1, 7)[0]))
        return self._more(names, lines)

    def _more(self, names: dict, lines: list[str]) -> dict:
        if lines:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                exec("\n".join(lines), _NAMESPACE, names)
        return names

    # choosing operands

    def _pick(self, values: list):
        if not values:
            raise _Misfit
        return values[self._choose(len(values))]

    def _operand(self, kind: str, first: str | None, depth: int) -> str:
        if kind == "c":
            return self._pick(NUMBERS)
        if kind == "n":
            return str(1 + self._choose(3))
        if kind == "q":
            if depth > 2:
                raise _Misfit
            return self._filled(self._pick(_lines(CONDITIONS)), depth + 1)
        if kind == "f":
            return "t"
        found = [name for name, value in self._names.items() if _fits(kind, value)]
        if kind == "b" and first is not None:
            other = self._names[first]
            found = [name for name in found if _broadcasts(other, self._names[name])]
        return self._pick(found[::-1])

    def _filled(self, template: str, depth: int = 0) -> str:
        """A template with its places filled; doubled braces stand for single ones."""
        chosen: dict[str, str] = {}

        def fill(match: re.Match) -> str:
            if match[0] not in chosen:
                chosen[match[0]] = self._operand(match[1], chosen.get("{a}"), depth)
            return chosen[match[0]]

        return _PLACE.sub(fill, template).replace("{{", "{").replace("}}", "}")

    # statements

    def statement(self) -> None:
        """Append a statement, or none where the one that was drawn does not fit."""
        kind = self._pick(self._kinds)
        before = self._shapes()
        exact = self.exact
        try:
            lines = self._compose(kind)
            self._more(self._names, lines)
            after = self._shapes()
            for name, value in self._names.items():
                if isinstance(value, np.ndarray | float) and not _moderate(value):
                    raise _Misfit
                if name in before and before[name] != after[name]:
                    raise _Misfit
            if self._has_strided(lines):  # sums of operands with gaps agree to rounding
                self.exact = False
            for name in "ie":
                self._names.pop(name, None)
        except Exception:
            self.exact = exact
            self._names = self._run(self._lines)
            return
        self._lines += lines

    def _shapes(self) -> dict:
        return {name: (np.shape(value), _type(value)) for name, value in self._names.items()}

    def _compose(self, kind: str) -> list[str]:
        if kind == "change":
            return [self._change()]
        if kind == "integer":
            return [f"{self._new('k')} = {self._filled(self._pick(_lines(INTEGERS)))}"]
        if kind == "risk":
            text, errors = self._filled(self._pick(_lines(RISKS))).split(" | ")
            name = self._new("a")
            other = self._filled(self._pick(["-1.0 * {s}", "{c}", "{s} + 1.0"]))
            return ["try:", f"    {name} = {text}", f"except {errors}:", f"    {name} = {other}"]
        if kind == "view":
            name, view = self._new("w"), self._filled(self._pick(_lines(VIEWS)))
            change = self._pick(
                ["{} *= -0.5", "{} += 0.25", "{}[...] = 0.5", "np.sin({0}, out={0})"]
            )
            return [f"{name} = {view}", change.format(name)]
        if kind == "same":
            name, array = self._new("a"), self._filled("{r}")
            self.exact = False  # sums of arrays of objects add up in order
            view = self._pick(_lines(SAME)).replace("{r}", array).replace("{m}", array)
            change = self._pick(["{} *= -0.5", "{} += 0.25", "{}[-1] = 0.5", "{}[0] *= 2.0"])
            return [
                f"e = {view}",
                change.format(array),
                f"{name} = e.flat[0] + e.flat[-1]",
                "del e",
            ]
        if kind == "fresh":
            return self._fresh()
        if kind in ("if", "for", "while", "elements", "try"):
            return self._block(kind, 0)
        return [f"{self._new('a')} = {self._expression(kind)}"]

    def _fresh(self) -> list[str]:
        """An array that is made, a view of it perhaps, and writing to either."""
        name, like = self._new("w"), self._filled("{r}")
        make = self._pick(_lines(MAKERS)).replace("{r}", like)
        lines, named = [f"{name} = {self._filled(make)}"], [name]
        if self._choose(2):
            named.append(self._new("w"))
            view = self._pick(["[::-1]", "[...]", "[:]", ".reshape({r}.shape)", ".T.T", ".view()"])
            lines.append(f"{named[1]} = {name}{view.replace('{r}', like)}")
        for _ in range(1 + self._choose(3)):
            fill = self._pick(_lines(FILLS)).replace("{w}", self._pick(named))
            lines.append(self._filled(fill.replace("{r}", like)))
        return lines

    def _new(self, letter: str) -> str:
        self._count += 1
        return f"{letter}{self._count}"

    def _expression(self, kind: str) -> str:
        template = self._pick(EXPRESSIONS[kind])
        if template.startswith("~"):
            self.exact = False
        return self._filled(template.lstrip("~"))

    def _has_strided(self, lines: list[str]) -> bool:
        named = [self._names.get(name) for name in re.findall(r"\w+", " ".join(lines))]
        arrays = [value for value in named if isinstance(value, np.ndarray)]
        return any(not array.flags.c_contiguous for array in arrays)

    def _change(self) -> str:
        """A change of a name's value, tried where it stands; its shape stays."""
        text = self._filled(self._pick(_lines(CHANGES)))
        before = self._shapes()
        self._more(self._names, [text])
        if self._shapes() != before:
            raise _Misfit
        self._names = self._run(self._lines)
        return text

    def _body(self, depth: int) -> list[str]:
        lines = []
        for _ in range(1 + self._choose(2)):
            if depth < 2 and self._choose(4) == 3:
                lines += self._block(self._pick(["if", "for", "while"]), depth + 1)
            else:
                lines.append(self._change())
        return ["    " + line for line in lines]

    def _block(self, kind: str, depth: int) -> list[str]:
        if kind == "if":
            lines = [f"if {self._filled('{q}')}:", *self._body(depth)]
            if self._choose(3) == 2:
                lines += [f"elif {self._filled('{q}')}:", *self._body(depth)]
            if self._choose(2):
                lines += ["else:", *self._body(depth)]
            return lines
        if kind == "for":
            count = self._pick(["2", "3", "len(x)", "int(abs({s})) % 4", "{k} % 3"])
            return [f"for i in range({self._filled(count)}):", *self._body(depth)]
        if kind == "while":
            n = self._new("n")
            stop = [[], ["    if " + self._filled("{q}") + ":", "        break"]][self._choose(2)]
            return [
                f"{n} = 0",
                f"while {self._filled('{q}')} and {n} < 4:",
                f"    {n} += 1",
                *stop,
                *self._body(depth),
            ]
        if kind == "elements":
            s, v = self._filled("{s}"), self._filled("{v}")
            return [
                f"for e in {v}:",
                f"    if e > {self._pick(NUMBERS)}:",
                f"        {s} = {s} + 0.25 * e",
            ]
        name, m = self._new("a"), self._filled("{m}")
        # Where a product of few columns were singular its last digit would decide.
        shift = float(self._filled("{c}")) + 1e-3
        self.exact = False
        return [
            "try:",
            f"    {name} = np.linalg.cholesky({m} @ {m}.T - {shift!r} * np.eye(len({m})))[0, 0]",
            "except np.linalg.LinAlgError:",
            f"    {name} = {m}[0, 0] * 1.0",
        ]

    def program(self) -> Program:
        """What was written, with the last names of float values returned."""
        floats = [name for name, value in self._names.items() if _fits("a", value)]
        wanted = [floats[-1 - k] for k in range(min(1 + self._choose(3), len(floats)))]
        body = [f"    {line}" for line in self._lines]
        body.append(f"    return {', '.join(wanted)}, t * 0.5")
        return Program("\n".join(["def program(x, y, t):", *body, ""]), self._size, self.exact)


def _type(value):
    """What must stay as it is: whether Python or NumPy, and integers or floats."""
    return np.asarray(value).dtype.kind


def _moderate(value) -> bool:
    return np.size(value) <= 40 and bool(np.all(np.isfinite(value)) and np.all(abs(value) < 50.0))


def _fits(kind: str, value) -> bool:
    if kind == "k":
        return isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not isinstance(value, float | np.ndarray) or np.asarray(value).dtype != np.float64:
        return False
    rank = np.ndim(value)
    if kind == "s":
        return rank == 0
    if np.size(value) == 0 and kind in "vm":
        return False
    return {"v": rank == 1, "m": rank == 2, "r": rank in (1, 2), "a": True, "b": True}[kind]


def _broadcasts(one, other) -> bool:
    try:
        np.broadcast_shapes(np.shape(one), np.shape(other))
    except ValueError:
        return False
    return True


@st.composite
def programs(draw, longest: int = 14, branchy: bool = False) -> Program:
    """Programs of up to so many statements; every second one a branch or a loop if wanted."""

    def choose(n: int) -> int:
        return draw(st.integers(0, n - 1))

    writer = _Writer(choose, SIZES[choose(len(SIZES))], _KINDS + _BRANCHES * branchy)
    for _ in range(1 + choose(longest)):
        writer.statement()
    return writer.program()
