"""The keywords by which a derivative is asked for as a sparse matrix."""

from typing import Any, NamedTuple

from numtape.errors import InputError
from numtape.sparse.pattern import Pattern

__all__ = ["FORMATS", "Sparse", "sparse_options"]

FORMATS = ("csr", "csc", "coo", "bsr", "dia", "lil", "dok")


class Sparse(NamedTuple):
    """How a derivative is to be sparse.

    Attributes
    ----------
    pattern : Pattern, optional
        Its structure, where that is known.
    format : str
        SciPy's name of a format.
    check : bool
        Whether each matrix is compared with a product along a random direction.
    """

    pattern: Pattern | None = None
    format: str = "csr"
    check: bool = False


def sparse_options(
    sparse: Any,
    format: str | None = None,  # noqa: A002 (SciPy's name)
    check: bool = False,
) -> Sparse | None:
    """Return how a derivative is to be sparse; None where it is to be dense.

    Raises
    ------
    InputError
        Where options do not go together, or are none that there are.
    """
    if sparse is False or sparse is None:
        if format is not None or check:
            named = "check=True" if format is None else f"format={format!r}"
            raise InputError(
                f"{named} was given without sparse: it is about sparse derivatives. Add "
                "sparse=True, or leave it out",
                code="wrong-option",
            )
        return None
    if sparse is not True and not isinstance(sparse, Pattern):
        sparse = _pattern_of(sparse)
    if format is not None and format not in FORMATS:
        raise InputError(
            f"format={format!r} was given: it must be one of SciPy's, {', '.join(FORMATS)}",
            code="wrong-option",
        )
    return Sparse(None if sparse is True else sparse, format or "csr", check)


def _pattern_of(given: Any) -> Pattern:
    try:
        return Pattern.of(given)
    except (TypeError, ValueError):
        raise InputError(
            f"sparse={given!r} was given: it must be True, or the pattern where it is known: a "
            "numtape.Pattern, one of SciPy's sparse arrays, or an array of bools",
            code="wrong-option",
        ) from None
