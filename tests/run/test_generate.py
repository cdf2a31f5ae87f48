"""The checked-in kernels are what the template and the table of operations make."""

from numtape.run.generate import KERNELS, kernel_source


def test_checked_in_kernels_are_fresh():
    assert KERNELS.read_text() == kernel_source()
