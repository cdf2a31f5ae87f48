"""Values that leave as text: integers and booleans guard, floats are shown."""

import io
import logging

import numpy as np
import pytest
from checks import without_source

import numtape as nt

POINTS = [
    np.array(row) for row in ((1.0, 2.0, 3.0), (3.0, 1.0, 2.0), (1.5, 2.5, 3.5), (2.0, 3.0, 1.0))
]
NAMES = {"0": 1.0, "1": 2.0, "2": 3.0, "00": 1.0, "01": 2.0, "02": 3.0, "True": 4.0, "False": 5.0}


def _named(name):
    return lambda x: NAMES[name(x)] * x[0]


def _shown(show):
    """Compare the text with that of the recorded point: `sorted` there, and not elsewhere."""
    rising = show(POINTS[0])
    return lambda x: x[0] if show(x) == rising else x[1] ** 2


GUARDED = {
    "str": _named(lambda x: str(np.argmax(x))),
    "%s": _named(lambda x: "%s" % np.argmax(x)),  # noqa: UP031
    "%d": _named(lambda x: "%d" % np.argmax(x)),  # noqa: UP031
    "%d of a float": _named(lambda x: "%d" % (x[0] - 1.0)),  # noqa: UP031
    "format": _named(lambda x: "{}".format(np.argmax(x))),  # noqa: UP032
    "format with a specification": _named(lambda x: format(np.argmax(x), "02d")),
    "f-string": _named(lambda x: f"{np.argmax(x)}"),
    "f-string of an int": _named(lambda x: f"{int(x[0]) - 1:02d}"),
    "str of a bool": _named(lambda x: str(x[0] > x[1])),
    "f-string of a bool": _named(lambda x: f"{x[0] > x[1]}"),
    "repr": _shown(lambda x: repr(np.argmax(x))),
    "repr of a bool of a list": _shown(lambda x: str((x > 2.0).tolist())),
    "str of an array": _shown(lambda x: str(np.argsort(x))),
    "repr of an array": _shown(lambda x: repr(np.argsort(x))),
    "str of a mask": _shown(lambda x: str(x > 2.0)),
    "str of a list": _shown(lambda x: str(np.argsort(x).tolist())),
    "str of a list of NumPy's": _shown(lambda x: str([*np.argsort(x)])),
    "array2string": _shown(lambda x: np.array2string(np.argsort(x), separator="-")),
    "array_str": _shown(lambda x: np.array_str(np.argsort(x))),
    "array_repr": _shown(lambda x: np.array_repr(np.argsort(x))),
    "join": _shown(lambda x: "".join(map(str, np.argsort(x)))),
    "converted": _shown(lambda x: str(x.astype(int))),
    "float of a bool": lambda x: float(x[0] > x[1]) * x[0] + x[1] ** 2,
}


@pytest.mark.parametrize("name", GUARDED)
def test_texts_of_integers_and_booleans_are_guarded(name):
    function = GUARDED[name]
    points = [*POINTS, *reversed(POINTS)]
    expected = [function(x) for x in points]
    gradient = nt.value_and_grad(function)
    assert [gradient(x)[0] for x in points] == expected
    np.testing.assert_array_equal(nt.vmap(function)(np.array(points)), expected)
    tape = nt.record(function, points[0])
    for x, right in zip(points, expected, strict=True):
        try:
            assert tape(x) == right
        except nt.BranchError:
            assert not np.array_equal(x, points[0])


SHOWN = {
    "%f": lambda x: "%.3f %g %e" % (x[0], x[1], x[2]),  # noqa: UP031
    "%f of one": lambda x: "%.3f" % x[0],  # noqa: UP031
    "%f by name": lambda x: "%(a).3f" % {"a": x[0]},  # noqa: UP031
    "%s": lambda x: "%s" % x[0],  # noqa: UP031
    "in bytes": lambda x: b"%.2f" % x[0],
    "format": lambda x: "{:.3f}".format(x[0]),  # noqa: UP032
    "f-string": lambda x: f"{x[0]:.3f} {x[1]}",
    "str": lambda x: str(x),
    "array2string": lambda x: np.array2string(x, precision=2),
    "array_repr": lambda x: np.array_repr(x),
}


@pytest.mark.parametrize("name", SHOWN)
def test_floats_are_shown_without_guards(name):
    show, seen = SHOWN[name], []

    def function(x):
        seen.append(show(x))
        return x[0] ** 2

    tape = nt.record(function, POINTS[2])
    assert seen == [show(POINTS[2])]
    assert not tape.flat.guards


def test_floats_are_logged():
    text = io.StringIO()
    logger = logging.getLogger("numtape.tests")
    handler = logging.StreamHandler(text)
    logger.addHandler(handler)
    try:
        tape = nt.record(lambda x: (logger.warning("%.2f and %g", x[0], x[1]), x[0])[1], POINTS[2])
    finally:
        logger.removeHandler(handler)
    assert text.getvalue() == "1.50 and 2.5\n"
    assert not tape.flat.guards


@pytest.mark.parametrize(
    "convert",
    [
        without_source(lambda x: float(x[0])),
        without_source(lambda x: 7.0 % float(x[0])),
        lambda x: np.float32(x[0]) % 2.0,
    ],
)
def test_other_conversions_still_lose_the_derivative(convert):
    with pytest.raises(nt.TraceError, match="derivative would be lost"):
        nt.grad(convert)(POINTS[0])
