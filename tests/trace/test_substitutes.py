"""SciPy's Python functions are replaced while recording: everywhere, and only then."""

import threading
from functools import partial

import numpy as np
import pytest
import scipy.integrate
import scipy.interpolate
import scipy.linalg
import scipy.ndimage
import scipy.spatial
import scipy.special
import scipy.stats
from checks import without_source
from scipy.special import comb, gammaln, logsumexp
from scipy.special import softmax as renamed

import numtape as nt

ORIGINAL = scipy.special.logsumexp
X = np.array([0.5, -1.0, 2.0])


def test_by_module_and_by_imported_name():
    expected = scipy.special.softmax(X)
    np.testing.assert_allclose(nt.grad(lambda x: scipy.special.logsumexp(x))(X), expected)
    np.testing.assert_allclose(nt.grad(lambda x: logsumexp(x))(X), expected)
    np.testing.assert_allclose(nt.grad(logsumexp)(X), expected)


def test_by_another_name_and_by_an_import_inside():
    def function(x):
        from scipy.special import log_softmax

        return np.sum(renamed(x) ** 2) + np.sum(log_softmax(x))

    nt.check_derivatives(function, X)


def test_originals_are_back_afterwards():
    seen = []

    def function(x):
        seen.append((scipy.special.logsumexp, logsumexp))
        return logsumexp(x)

    nt.grad(function)(X)
    assert seen[-1][0] is ORIGINAL
    nt.grad(without_source(function))(X)  # whose calls cannot be resolved
    assert seen[-1][0] is not ORIGINAL
    assert scipy.special.logsumexp is logsumexp is ORIGINAL
    with pytest.raises(ZeroDivisionError):
        nt.grad(without_source(lambda x: logsumexp(x) + 1 / 0))(X)
    assert scipy.special.logsumexp is logsumexp is ORIGINAL


def test_plain_arguments_go_to_the_original():
    def function(x):
        return x * logsumexp([1.0, 2.0])

    assert nt.grad(function)(1.0) == logsumexp([1.0, 2.0])


def test_lists_and_object_arrays_of_traced_scalars():
    def function(x, y):
        return logsumexp([x, y]) + scipy.special.logsumexp(np.array([x, 2.0 * y]))

    nt.check_derivatives(function, 0.5, 1.5)


def test_ufuncs_of_object_arrays():
    def function(x, y):
        pair = np.array([x, x * y])
        return np.sum(scipy.special.erf(pair) + gammaln(pair) + scipy.special.psi([x, 2.0]))

    nt.check_derivatives(function, 0.5, 1.5)
    assert isinstance(scipy.special.erf, np.ufunc)
    assert isinstance(gammaln, np.ufunc)


def test_nested_recordings():
    def outer(x):
        return np.sum(nt.grad(logsumexp)(x) ** 2) + logsumexp(x)

    nt.check_derivatives(outer, X)
    assert scipy.special.logsumexp is ORIGINAL


def test_other_threads_notice_nothing():
    inside, proceed, found = threading.Event(), threading.Event(), []

    def function(x):
        inside.set()
        assert proceed.wait(10)
        return logsumexp(x)

    def plain():
        assert inside.wait(10)
        found.append(scipy.special.logsumexp(X))
        proceed.set()

    thread = threading.Thread(target=plain)
    thread.start()
    nt.grad(function)(X)
    thread.join()
    assert found == [ORIGINAL(X)]
    assert scipy.special.logsumexp is ORIGINAL


def test_a_function_that_is_not_found_is_named():
    function = without_source(lambda reduce, x: reduce(x), partial(ORIGINAL, axis=0))
    with pytest.raises(nt.TraceError, match=r"scipy\.special|plain number"):
        nt.grad(function)(X)
    with pytest.raises(nt.UnsupportedError, match=r"scipy\.special\._basic\.comb"):
        nt.grad(lambda x: comb(x, 2.0))(5.0)


UNKNOWN = {
    "integrate.quad": lambda x: scipy.integrate.quad(lambda t: t, 0.0, x[0])[0],
    "interpolate.CubicSpline": lambda x: scipy.interpolate.CubicSpline([0.0, 1.0, 2.0], x)(0.5),
    "ndimage.gaussian_filter": lambda x: scipy.ndimage.gaussian_filter(x, 1.0)[0],
    "spatial.pdist": lambda x: scipy.spatial.distance.pdist(x[:, None])[0],
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_functions_without_a_rule_are_named_with_the_users_line(name):
    with pytest.raises(nt.UnsupportedError, match=r"scipy\.\S+ was called.*test_substitutes\.py"):
        nt.grad(UNKNOWN[name])(X)


def test_a_hidden_reference_to_a_known_function_is_told():
    hidden = [ORIGINAL, scipy.linalg.expm]
    with pytest.raises(nt.UnsupportedError, match=r"scipy\.special\.logsumexp\(x\)"):
        nt.grad(without_source(lambda hidden, x: hidden[0](x), hidden))(X)
    with pytest.raises(nt.TraceError):
        nt.grad(without_source(lambda hidden, x: np.sum(hidden[1](np.outer(x, x))), hidden))(X)


def test_errors_of_the_function_itself_are_left_alone():
    with pytest.raises(TypeError, match="unexpected keyword"):
        nt.grad(lambda x: logsumexp(x, axes=0))(X)
