"""Products of matrices that are narrow enough for their sums to stay in registers.

For those a library as general as BLAS spends more time on getting ready than on the
product: here the extents are known when the code is made. A block of a few rows
and a panel of columns has its sums in registers for the whole length of the product.
It adds up in another order than BLAS does, so it is for derivatives alone; wide and
long products are BLAS's all the same.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from llvmlite import binding, ir

from numtape.run import emitter
from numtape.run.functions import FunctionWriter

__all__ = ["Product", "is_narrow", "write_product"]

_DOUBLE, _WORD, _BIT, _I32 = ir.DoubleType(), ir.IntType(64), ir.IntType(1), ir.IntType(32)

_PANEL = 4  # vectors
_WIDEST = 128  # columns
_MOST = 1 << 25  # multiplications
_COPIED = 1 << 13  # elements of a right operand that is not stored by rows


@dataclass(frozen=True)
class Product:
    """A product of an (m, n) and an (n, p) matrix: places, and steps down and across."""

    m: int
    n: int
    p: int
    left: int
    left_steps: tuple[int, int]
    right: int
    right_steps: tuple[int, int]
    result: int


@cache
def _has_fma() -> bool:
    form = emitter.vector_form()
    return form.mark == "n" or bool(binding.get_host_cpu_features().get("fma"))


def is_narrow(product: Product) -> bool:
    """Return whether it is a product for this module."""
    by_rows = product.right_steps[1] == 1
    return (
        _has_fma()
        and emitter.vector_form().width <= product.p <= _WIDEST
        and 0 < product.m * product.n * product.p <= _MOST
        and (by_rows or product.n * product.p <= _COPIED)
    )


def write_product(module: ir.Module, name: str, product: Product) -> None:
    """Write the function of a product into a module."""
    _Writer(module, name, product).write()


class _Writer(FunctionWriter):
    def __init__(self, module: ir.Module, name: str, product: Product) -> None:
        super().__init__(module, name)
        self.product = product
        self.right, self.down = self.at(self.memory, product.right), product.right_steps[0]

    def write(self) -> None:
        product, width = self.product, self.form.width
        if product.right_steps[1] != 1:
            self.copy_by_rows()
        vectors = -(-product.p // width)
        panels = -(-vectors // _PANEL)
        registers = 32 if self.form.mark in ("e", "n") else 16
        for panel in range(panels):
            first = vectors * panel // panels
            columns = range(first * width, vectors * (panel + 1) // panels * width, width)
            rows = min(product.m, (registers - 1) // (len(columns) + 1))

            def block(row: Any, columns: range = columns, rows: int = rows) -> None:
                self.block(row, rows, columns)

            whole = product.m // rows * rows
            self.loop(0, whole, rows, block)
            if whole < product.m:
                self.block(whole, product.m - whole, columns)
        self.builder.ret(_WORD(-1))

    def copy_by_rows(self) -> None:
        """Have the right operand row by row."""
        product = self.product
        copied = self.room(product.n * product.p)

        def row(k: Any) -> None:
            source = self.at(self.right, self.times(k, product.right_steps[0]))
            target = self.at(copied, self.times(k, product.p))

            def element(j: Any) -> None:
                number = self.builder.load(self.at(source, self.times(j, product.right_steps[1])))
                self.builder.store(number, self.at(target, j), align=8)

            self.loop(0, product.p, 1, element)

        self.loop(0, product.n, 1, row)
        self.right, self.down = copied, product.p

    def block(self, row: Any, rows: int, columns: range) -> None:
        """Compute some rows of some columns, which begin at these."""
        product, builder, kind = self.product, self.builder, self.form.kind
        down, across = product.left_steps
        left = self.at(self.memory, self.add(product.left, self.times(row, down)))
        zero = ir.Constant(kind, [0.0] * self.form.width)
        fma = self.fma()

        def step(k: Any, *sums: Any) -> list[Any]:
            numbers = self.at(left, self.times(k, across))
            right = self.at(self.right, self.times(k, self.down))
            factors = [
                self.splat(builder.load(self.at(numbers, r * down), align=8)) for r in range(rows)
            ]
            found = []
            for c, column in enumerate(columns):
                vector = self.load(self.at(right, column), self.mask(column))
                found += [
                    builder.call(fma, [factors[r], vector, sums[c * rows + r]]) for r in range(rows)
                ]
            return found

        _, sums = self.loop(0, product.n, 1, step, [zero] * (rows * len(columns)))
        for c, column in enumerate(columns):
            for r in range(rows):
                place = self.add(self.times(row, product.p), product.result + r * product.p)
                pointer = self.at(self.at(self.memory, place), column)
                self.store(sums[c * rows + r], pointer, self.mask(column))

    def fma(self) -> Any:
        symbol, kind = f"llvm.fma.v{self.form.width}f64", self.form.kind
        if symbol not in self.module.globals:
            ir.Function(self.module, ir.FunctionType(kind, [kind] * 3), symbol)
        return self.module.globals[symbol]

    def mask(self, column: int) -> Any:
        """Return which lanes from a column on there are columns for; None for all."""
        width, left = self.form.width, self.product.p - column
        if left >= width:
            return None
        return ir.Constant(ir.VectorType(_BIT, width), [int(k < left) for k in range(width)])
