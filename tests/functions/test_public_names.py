"""What `numtape` offers, and that everything offered is documented."""

import inspect

import pytest

import numtape as nt

WANTED = {
    "record",
    "grad",
    "value_and_grad",
    "jacobian",
    "jacfwd",
    "jacrev",
    "jvp",
    "vjp",
    "stop_gradient",
    "check_derivatives",
    "Tape",
    "BranchError",
    "InputError",
    "NumtapeError",
    "OutputError",
    "TapeError",
    "TraceError",
    "UnsupportedError",
}


def test_names():
    assert set(nt.__all__) >= WANTED


@pytest.mark.parametrize("name", nt.__all__)
def test_documented(name):
    thing = getattr(nt, name)
    if not isinstance(thing, str):
        assert inspect.getdoc(thing)


@pytest.mark.parametrize("make", [nt.grad, nt.value_and_grad, nt.jacobian, nt.jacfwd, nt.jacrev])
def test_derivatives_have_names(make):
    def energy(x):
        return x * x

    derivative = make(energy)
    assert repr(derivative) == f"<{make.__name__}(energy)>"
    assert derivative.__wrapped__ is energy
    assert "energy" in derivative.__doc__
