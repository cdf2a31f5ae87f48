"""Patterns, their colourings and pictures."""

import pickle
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot
from numpy.lib import format as npy

import numtape as nt

MATRIX = np.array([[0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 1, 0]], bool)


def matrices(most=12, symmetric=False):
    def drawn(shape, seed, share):
        found = np.random.default_rng(seed).random(shape) < share
        return found | found.T if symmetric else found

    sizes = st.integers(0, most)
    shapes = sizes.map(lambda n: (n, n)) if symmetric else st.tuples(sizes, sizes)
    return st.builds(drawn, shapes, st.integers(0, 10**6), st.floats(0.0, 0.6))


def test_what_a_pattern_says():
    pattern = nt.Pattern.of(MATRIX)
    assert pattern.shape == (3, 4)
    assert pattern.nnz == 4
    assert pattern.density == 4 / 12
    np.testing.assert_array_equal(pattern.rows, [0, 0, 2, 2])
    np.testing.assert_array_equal(pattern.columns, [1, 3, 0, 2])
    assert repr(pattern) == "<Pattern: 3 x 4, 4 nonzeros, 33.3 %>"
    np.testing.assert_array_equal(pattern.to_scipy().toarray(), MATRIX)
    np.testing.assert_array_equal(pattern.to_scipy([1.0, 2.0, 3.0, 4.0]).data, [1, 2, 3, 4])
    np.testing.assert_array_equal(pattern.T.to_scipy().toarray(), MATRIX.T)


def test_equal_patterns_are_one_key():
    pattern = nt.Pattern.of(MATRIX)
    same = nt.Pattern.from_coo([2, 0, 0, 2, 2], [2, 3, 1, 0, 0], (3, 4))
    assert pattern == same
    assert hash(pattern) == hash(same)
    assert pattern != nt.Pattern.of(MATRIX.T)
    assert pattern != nt.Pattern.of(~MATRIX)
    assert pattern != "pattern"
    assert pickle.loads(pickle.dumps(pattern)) == pattern
    assert nt.Pattern.of(pattern) is pattern


def test_stored_zeros_count_and_nothing_is_shared():
    matrix = scipy.sparse.csr_array(MATRIX.astype(float))
    matrix.data[:] = 0.0
    pattern = nt.Pattern.of(matrix)
    assert pattern.nnz == 4
    matrix.indices[:] = 0
    np.testing.assert_array_equal(pattern.columns, [1, 3, 0, 2])
    with pytest.raises(ValueError, match="read-only"):
        pattern.indices[0] = 2
    given = pattern.to_scipy()
    given.indices[:] = 0
    np.testing.assert_array_equal(pattern.columns, [1, 3, 0, 2])


@pytest.mark.parametrize("name", ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"])
def test_any_format_of_scipys(name):
    assert nt.Pattern.of(scipy.sparse.csr_array(MATRIX).asformat(name)) == nt.Pattern.of(MATRIX)


def test_files(tmp_path):
    pattern = nt.Pattern.of(MATRIX)
    pattern.save(tmp_path / "a")
    assert nt.Pattern.load(tmp_path / "a") == pattern
    with np.load(tmp_path / "a") as found:
        np.testing.assert_array_equal(found["indices"], pattern.indices)


GOOD = {
    "shape": np.array([3, 4]),
    "indptr": np.array([0, 2, 2, 4]),
    "indices": np.array([1, 3, 0, 2]),
}
BROKEN = {
    "no indices": {"shape": GOOD["shape"], "indptr": GOOD["indptr"]},
    "a long shape": {**GOOD, "shape": np.array([3, 4, 1])},
    "a shape of floats": {**GOOD, "shape": np.array([3.0, 4.0])},
    "a negative shape": {**GOOD, "shape": np.array([3, -4])},
    "a short indptr": {**GOOD, "indptr": np.array([0, 2, 4])},
    "an indptr that falls": {**GOOD, "indptr": np.array([0, 3, 2, 4])},
    "an indptr from 1": {**GOOD, "indptr": np.array([1, 2, 2, 4])},
    "an indptr beyond the end": {**GOOD, "indptr": np.array([0, 2, 2, 5])},
    "an indptr of floats": {**GOOD, "indptr": np.array([0.0, 2.0, 2.0, 4.0])},
    "indices of two axes": {**GOOD, "indices": np.array([[1, 3], [0, 2]])},
    "a column too many": {**GOOD, "indices": np.array([1, 4, 0, 2])},
    "a negative column": {**GOOD, "indices": np.array([-1, 3, 0, 2])},
    "columns that fall": {**GOOD, "indices": np.array([3, 1, 0, 2])},
    "a column twice": {**GOOD, "indices": np.array([1, 1, 0, 2])},
    "objects": {**GOOD, "indices": np.array([1, 3, 0, "2"], object)},
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_without_a_pattern_are_refused(name, tmp_path):
    np.savez(tmp_path / "a.npz", **BROKEN[name])
    with pytest.raises(nt.InputError, match="pattern"):
        nt.Pattern.load(tmp_path / "a.npz")


def test_files_of_something_else_are_refused(tmp_path):
    (tmp_path / "text").write_text("a pattern")
    with pytest.raises(nt.InputError, match="Write it again"):
        nt.Pattern.load(tmp_path / "text")
    whole = tmp_path / "whole"
    nt.Pattern.of(MATRIX).save(whole)
    data = whole.read_bytes()
    for size in range(0, len(data), 37):
        whole.write_bytes(data[:size])
        with pytest.raises(nt.InputError, match="Write it again"):
            nt.Pattern.load(whole)
    with open(whole, "wb") as file:
        npy.write_array(file, np.arange(3))
    with pytest.raises(nt.InputError, match="Write it again"):
        nt.Pattern.load(whole)
    with pytest.raises(FileNotFoundError):
        nt.Pattern.load(tmp_path / "none")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nt.Pattern.from_coo([0, 3], [0, 0], (3, 4)), "row 3 was given"),
        (lambda: nt.Pattern.from_coo([0, 1], [0, -1], (3, 4)), "column -1 was given"),
        (lambda: nt.Pattern.of(np.ones(3)), "a matrix"),
        (lambda: nt.Pattern.of("eye"), "a matrix"),
        (lambda: nt.Pattern((2, 2), [0, 1], [0]), "2 entries of indptr"),
        (lambda: nt.Pattern.of(MATRIX).colouring("all"), "must be 'columns', 'rows'"),
        (lambda: nt.Pattern.of(MATRIX).colouring("star"), "not symmetric"),
        (lambda: nt.Pattern.of(np.tri(3)).colouring("star"), "not symmetric"),
    ],
)
def test_misuse(make, message):
    with pytest.raises(nt.InputError, match=message):
        make()


# colourings


def greedy_columns(matrix):
    """Colour columns one by one, as slowly as one would by hand."""
    colours = []
    for column in range(matrix.shape[1]):
        taken = {
            colours[other]
            for other in range(column)
            if (matrix[:, other] & matrix[:, column]).any()
        }
        colours.append(min(set(range(column + 1)) - taken))
    return colours


def greedy_stars(matrix):
    """Colour rows one by one, each so that no path of four has two colours."""
    size = len(matrix)
    near = [[j for j in range(size) if matrix[i, j] and i != j] for i in range(size)]
    colours = [-1] * size

    def paths(v):
        for a in near[v]:  # v at an end, and v inside
            for b in near[a]:
                if b != v:
                    yield from ((v, a, b, c) for c in near[b] if c not in (v, a))
                    yield from ((d, v, a, b) for d in near[v] if d not in (a, b))

    for v in range(size):
        for colour in range(size):
            colours[v] = colour
            if any(colours[a] == colour for a in near[v]):
                continue
            if all(
                -1 in (own := [colours[each] for each in path]) or len(set(own)) > 2
                for path in paths(v)
            ):
                break
    return colours


@settings(max_examples=150, deadline=None)
@given(matrices())
def test_columns_and_rows(matrix):
    pattern = nt.Pattern.of(matrix)
    for kind, own in (("columns", matrix), ("rows", matrix.T)):
        found = pattern.colouring(kind)
        assert found.colours.tolist() == greedy_columns(own)
        assert found.count == max(found.colours, default=-1) + 1
        assert pattern.colouring(kind) is found


@settings(max_examples=150, deadline=None)
@given(matrices(symmetric=True))
def test_stars(matrix):
    pattern = nt.Pattern.of(matrix)
    found = pattern.colouring("star")
    colours = found.colours
    for row, column in zip(pattern.rows, pattern.columns, strict=True):
        alone = [
            (colours[np.flatnonzero(matrix[i])] == colours[j]).sum() == 1
            for i, j in ((row, column), (column, row))
        ]
        assert any(alone)
    assert colours.tolist() == greedy_stars(matrix)


@pytest.mark.parametrize("hub", [0, 99])
def test_an_arrow_has_two_star_colours(hub):
    matrix = np.eye(100, dtype=bool)
    matrix[hub] = matrix[:, hub] = True
    assert nt.Pattern.of(matrix).colouring("star").count == 2


def test_bands_and_grids():
    band = np.tri(200, k=2, dtype=bool) & np.tri(200, k=2, dtype=bool).T
    pattern = nt.Pattern.of(band)
    assert pattern.colouring("columns").count == 5
    assert pattern.colouring("star").count <= 5
    assert "5 colours of columns" in repr(pattern)


# pictures


def test_in_braille():
    assert str(nt.Pattern.of(np.eye(3))) == "⠑⠄\n3 x 3, 3 nonzeros, 33.3 %"
    lines = str(nt.Pattern.of(np.ones((4, 6)))).splitlines()
    assert lines[0] == "⣿⣿⣿"
    large = nt.Pattern.from_coo([123_456], [999_999], (10**6, 10**6))
    *picture, counts = str(large).splitlines()
    assert len(picture) <= 24
    assert all(len(line) <= 60 for line in picture)
    assert sum(line.count("⠀") < len(line) for line in picture) == 1  # the one entry is shown
    assert counts == "1000000 x 1000000, 1 nonzeros, 1e-10 %"
    assert str(nt.Pattern.of(np.zeros((0, 0)))).endswith("0 x 0, 0 nonzeros, 0 %")


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1), (3, 700), (900, 2)])
def test_of_any_shape(shape):
    pattern = nt.Pattern.of(np.ones(shape))
    *picture, _ = str(pattern).splitlines()
    assert all(len(line) <= 60 for line in picture)
    ET.fromstring(pattern._repr_html_())


def test_as_svg():
    pattern = nt.Pattern.of(np.eye(5) + np.eye(5, k=1))
    root = ET.fromstring(pattern._repr_html_())
    path = root.find("{http://www.w3.org/2000/svg}path").get("d")
    assert path.count("M") == 5  # a rectangle for each row
    assert root.get("aria-label") == "5 x 5, 9 nonzeros, 36 %"


def test_by_matplotlib():
    matplotlib.use("Agg")
    pattern = nt.Pattern.of(np.eye(6) + np.eye(6, k=1))
    axes = pattern.spy(colouring="columns")
    places = axes.collections[0].get_offsets()
    np.testing.assert_array_equal(places, np.column_stack([pattern.columns, pattern.rows]))
    assert len(np.unique(axes.collections[0].get_facecolors(), axis=0)) == 2
    assert pattern.spy(axes) is axes
    assert len(pattern.spy(colouring="rows").collections) == 1
    large = nt.Pattern.of(scipy.sparse.eye_array(1000)).spy()
    assert large.images[0].get_array().any(axis=1).all()
    pyplot.close("all")


def test_without_matplotlib(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(nt.InputError, match=r"numtape\[plot\]"):
        nt.Pattern.of(np.eye(3)).spy()
