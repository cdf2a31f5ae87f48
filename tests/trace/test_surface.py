"""NumPy's public functions, each tried: values, first and second derivatives, refusals."""

import numpy as np
import pytest
import surface
from checks import assert_same_bits

import numtape as nt
from numtape.functions.trees import flatten

EXAMPLES = surface.EXAMPLES | surface.WORKING
CASES = [(name, k) for name, cases in EXAMPLES.items() for k in range(len(cases))]


_WITHOUT_ARRAYS = {"linalg.LinAlgError": [], "fft.fftfreq": [], "fft.rfftfreq": []}


def _copies(point):
    return [np.copy(x) if np.ndim(x) else x for x in point]


@pytest.mark.parametrize(("name", "k"), CASES, ids=lambda part: str(part))
def test_values(name, k):
    """A recording gives what NumPy gives, where it was made and at another point."""
    case = EXAMPLES[name][k]
    tape = nt.record(case.function, *_copies(case.point(1)))
    for seed in (1, 2):
        point = case.point(seed)
        try:
            value = tape(*_copies(point))
        except nt.BranchError:  # another path
            value = nt.record(case.function, *_copies(point))(*_copies(point))
        actual, _ = flatten(value)
        expected, _ = flatten(case.function(*_copies(point)))
        for one, other in zip(actual, expected, strict=True):
            assert np.shape(one) == np.shape(other)
            if case.bits:
                assert_same_bits(one, other)
            else:
                np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("name", "k"), CASES, ids=lambda part: str(part))
def test_derivatives(name, k):
    """Forward equals reverse equals central differences, and so it is for the gradient."""
    case = EXAMPLES[name][k]
    point = case.point(1)
    nt.check_derivatives(case.function, *_copies(point), step=1e-4)
    if case.order < 2:
        return

    def weighted(*arguments):
        leaves, _ = flatten(case.function(*arguments))
        return sum(np.sum(np.sin(1.1 * leaf + 0.2) * (k + 1.3)) for k, leaf in enumerate(leaves))

    gradient = nt.grad(weighted, argnums=tuple(range(len(point))))
    nt.check_derivatives(gradient, *_copies(point), step=1e-4)


def test_every_public_name_is_accounted_for():
    """A name that a new NumPy brings must be tried, refused, or said to be not numeric."""
    known = set(surface.EXAMPLES) | set(surface.REFUSED) | set(surface.without_numbers())
    missing = [name for name in surface.public_names() if name not in known]
    for module in (np.linalg, np.fft):
        names = [f"{module.__name__[6:]}.{name}" for name in module.__all__]
        missing += [name for name in names if name not in surface.NAMESPACES | _WITHOUT_ARRAYS]
    assert not missing, "add to tests/surface.py: " + " ".join(missing)


@pytest.mark.parametrize("name", surface.REFUSED)
def test_refusals(name):
    """What is refused says where, and what to do instead."""
    error = surface.refusal(name)
    assert __file__.replace("trace/test_surface", "surface") in str(error)
    assert len(str(error)) > 80


def test_the_share_that_works():
    works, missing = (
        [name for name in surface.public_names() if name in table]
        for table in (surface.EXAMPLES, surface.WITHOUT_RULE)
    )
    assert len(works) >= 0.95 * (len(works) + len(missing))


def test_the_page_is_fresh():
    """docs/reference/numpy.md is what `python tests/surface.py` writes."""
    assert surface.PAGE.read_text() == surface.page()
