"""A module of helpers as users have them, which reaches NumPy by names of its own."""

import math as m
from functools import partial

import numpy
from numpy import empty, eye, zeros
from scipy.special import logsumexp

__all__ = ["Filter", "Kernel", "Vector", "by_default", "closed_over", "filled", "table"]


def filled(x):
    y = zeros(len(x))
    for k, value in enumerate(x):
        y[k] = m.exp(-value) if value > 0 else value * value
    return y


class Kernel:
    """Fills a matrix element by element, in a method."""

    scale = 0.5
    offsets = numpy.array([0.1, 0.2, 0.3])

    def __init__(self, n):
        self.n = n
        self.work = empty((n, n))

    @property
    def diagonal(self):
        d = zeros(self.n)
        d[:] = self.scale
        return d

    def __call__(self, x):
        for i in range(self.n):
            for j in range(self.n):
                self.work[i, j] = self.__entry(x[i], x[j])
        return self.work + numpy.diag(self.diagonal)

    def __entry(self, a, b):
        return m.exp(-self.scale * (a - b) ** 2)


class Filter:
    """A linear filter that keeps its state in arrays of its own."""

    def __init__(self, q):
        self.P = eye(2)
        self.F = numpy.array([[1.0, q], [0.0, 1.0]])

    def step(self):
        self.P = self.F @ self.P @ self.F.T
        self.P[0, 0] += 0.1
        return numpy.linalg.det(self.P) + self.P.sum()


class Vector:
    """Reaches NumPy in an operator."""

    def __init__(self, parts):
        self.parts = parts

    def __add__(self, other):
        parts = zeros(2)
        parts[0] = self.parts[0] + other.parts[0]
        parts[1] = self.parts[1] * other.parts[1]
        return Vector(parts)

    def __rmul__(self, factor):
        return Vector(factor * self.parts)


table = {"lse": logsumexp, "partial": partial(logsumexp, axis=0)}


def by_default(x, reduce=logsumexp):
    return reduce(x)


def closed_over(function):
    def outer():
        def inner(x):
            return function(x)

        return inner

    return outer()
