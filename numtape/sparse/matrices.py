"""SciPy's sparse arrays, imported when the first is made: that takes a third of a second."""

from typing import Any

__all__ = ["csr_array", "is_sparse", "module"]


def module() -> Any:
    """Return `scipy.sparse`."""
    from scipy import sparse

    return sparse


def csr_array(data: Any, indices: Any, indptr: Any, shape: tuple[int, int]) -> Any:
    """Return an array of these parts, which it may use as they are."""
    return module().csr_array((data, indices, indptr), shape=shape)


def is_sparse(value: Any) -> bool:
    """Return whether a value is one of SciPy's sparse arrays or matrices."""
    return hasattr(value, "format") and bool(module().issparse(value))
