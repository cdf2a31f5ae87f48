"""Stand-ins for series and frames of pandas and arrays of xarray, which the tests do without."""

import numpy as np


class Series:
    """As pandas': aligned by labels, nan left out, n - 1 in `std`."""

    iloc = None

    def __init__(self, values, index=None, name=None):
        self.values = np.asarray(values)
        self.index = list(range(len(values))) if index is None else list(index)
        self.name = name

    shape = property(lambda self: self.values.shape)
    ndim = property(lambda self: self.values.ndim)
    dtype = property(lambda self: self.values.dtype)

    def to_numpy(self):
        return self.values

    def to_dict(self):
        return dict(zip(self.index, self.values.tolist(), strict=True))

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)

    def __getitem__(self, key):
        if isinstance(key, Series):
            return Series(self.values[key.values], np.array(self.index)[key.values].tolist())
        return self.values[self.index.index(key)]

    def __setitem__(self, key, value):
        self.values[self.index.index(key)] = value

    def _with(self, other, operation):
        if isinstance(other, Series):
            if len(other.index) != len(self.index):
                raise ValueError("labels differ")
            other = other.values[[other.index.index(label) for label in self.index]]
        return Series(operation(self.values, other), self.index, self.name)

    def __add__(self, other):
        return self._with(other, np.add)

    def __mul__(self, other):
        return self._with(other, np.multiply)

    def __pow__(self, other):
        return self._with(other, np.power)

    def __eq__(self, other):
        return self._with(other, np.equal)

    __hash__ = None

    def sum(self):
        return np.nansum(self.values)

    def std(self):
        return np.std(self.values, ddof=1)


class Frame(Series):
    """As a frame of pandas: the mean is one for each column."""

    def __init__(self, values, index=None, columns=None):
        super().__init__(values, index)
        self.columns = list(columns)

    def __getitem__(self, name):
        return Series(self.values[:, self.columns.index(name)], self.index, name)

    def mean(self):
        return Series(np.mean(self.values, axis=0), self.columns)

    def __matmul__(self, other):
        return Series(self.values @ np.asarray(other), self.index)


class Labelled:
    """As xarray's: by the names of axes, and n in `std`."""

    def __init__(self, values, dims, coords):
        self.values, self.dims, self.coords = np.asarray(values), dims, coords

    shape = property(lambda self: self.values.shape)
    indexes = property(lambda self: self.coords)

    def to_numpy(self):
        return self.values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)

    def copy(self, data):
        return Labelled(data, self.dims, self.coords)

    def __pow__(self, other):
        return self.copy(self.values**other)

    def sum(self):
        return self.copy(np.sum(self.values))
