"""Functions that kernels call for a segment, written as LLVM: memory, numbers and loops.

What is computed is for those who write such a function to say: groups (`nests.py`), products
(`products.py`).
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from numtape.run import emitter

__all__ = ["FunctionWriter", "Value"]

_DOUBLE, _WORD, _BIT, _I32 = ir.DoubleType(), ir.IntType(64), ir.IntType(1), ir.IntType(32)

Value = Any  # of LLVM's, or a number that is known here


class FunctionWriter:
    """Writes a function that a kernel can call for a segment: memory, numbers and loops."""

    def __init__(self, module: ir.Module, name: str) -> None:
        self.module, self.form = module, emitter.vector_form()
        pointer = _DOUBLE.as_pointer()
        signature = ir.FunctionType(_WORD, [pointer, pointer, pointer, _WORD])
        self.function = ir.Function(module, signature, name)
        self.memory = self.function.args[0]
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))

    # Memory.

    def room(self, size: int) -> Value:
        """Reserve memory of the function's own."""
        found = self.builder.alloca(_DOUBLE, size=_WORD(size))
        found.align = 64
        return found

    def fill(self, pointer: Value, size: Value, value: float) -> None:
        """Write a number to so many elements."""

        def body(index: Value) -> None:
            self.builder.store(ir.Constant(_DOUBLE, value), self.at(pointer, index))

        self.loop(0, size, 1, body)

    def copy(self, source: Value, target: Value, size: int) -> None:
        """Copy elements that follow one another."""

        def body(index: Value) -> None:
            self.builder.store(
                self.builder.load(self.at(source, index)), self.at(target, index), align=8
            )

        self.loop(0, size, 1, body)

    def at(self, pointer: Value, index: Value) -> Value:
        """Return the address of an element."""
        if isinstance(index, int):
            if index == 0:
                return pointer
            index = _WORD(index)
        return self.builder.gep(pointer, [index])

    # Vectors. A mask has the lanes that are meant, and is None for all of them.

    def splat(self, number: Value, kind: Any = None) -> Value:
        """Return a vector full of a number."""
        kind = kind or self.form.kind
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), number, _I32(0))
        zeros = ir.Constant(ir.VectorType(_I32, self.form.width), [0] * self.form.width)
        return self.builder.shuffle_vector(one, one, zeros)

    def load(self, pointer: Value, mask: Value) -> Value:
        """Load a vector from memory; lanes that are not meant hold 1."""
        kind = self.form.kind
        pointer = self.builder.bitcast(pointer, kind.as_pointer())
        if mask is None:
            return self.builder.load(pointer, align=8)
        ones = ir.Constant(kind, [1.0] * self.form.width)
        kinds = [pointer.type, _I32, mask.type, kind]
        function = self._masked("load", kind, kinds)
        return self.builder.call(function, [pointer, _I32(8), mask, ones])

    def store(self, value: Value, pointer: Value, mask: Value) -> None:
        """Write a vector to memory."""
        pointer = self.builder.bitcast(pointer, self.form.kind.as_pointer())
        if mask is None:
            self.builder.store(value, pointer, align=8)
            return
        kinds = [value.type, pointer.type, _I32, mask.type]
        function = self._masked("store", ir.VoidType(), kinds)
        self.builder.call(function, [value, pointer, _I32(8), mask])

    def _masked(self, name: str, result: Any, kinds: Sequence[Any]) -> Any:
        symbol = f"llvm.masked.{name}.v{self.form.width}f64.p0"
        if symbol not in self.module.globals:
            ir.Function(self.module, ir.FunctionType(result, kinds), symbol)
        return self.module.globals[symbol]

    # Numbers, as far as they are known here.

    def add(self, x: Value, y: Value) -> Value:
        """Add two words."""
        if isinstance(x, int) and isinstance(y, int):
            return x + y
        return self.builder.add(self.word(x), self.word(y))

    def times(self, x: Value, y: int) -> Value:
        """Multiply a word by a number that is known."""
        if isinstance(x, int) or y == 0:
            return 0 if y == 0 else x * y
        return x if y == 1 else self.builder.mul(x, _WORD(y))

    def word(self, x: Value) -> Value:
        """Return a number as LLVM has it."""
        return _WORD(x) if isinstance(x, int) else x

    # Control.

    def loop(
        self,
        start: Value,
        stop: Value,
        step: int,
        body: Callable[..., Sequence[Value] | None],
        carried: Sequence[Value] = (),
    ) -> tuple[Value, list[Value]]:
        """Run `body` of the index and what is carried along; both as they are after it."""
        builder = self.builder
        if isinstance(start, int) and isinstance(stop, int):
            turns = max(0, -(-(stop - start) // step))
            if turns < 2:
                found = body(start, *carried) if turns else carried
                return start + turns * step, list(found or ())
        before = builder.block
        test, inside, after = (self.function.append_basic_block() for _ in range(3))
        builder.branch(test)
        builder.position_at_end(test)
        index = builder.phi(_WORD)
        phis = [builder.phi(value.type) for value in carried]
        builder.cbranch(builder.icmp_signed("<", index, self.word(stop)), inside, after)
        builder.position_at_end(inside)
        found = body(index, *phis) or ()
        following = builder.add(index, _WORD(step))
        index.add_incoming(self.word(start), before)
        index.add_incoming(following, builder.block)
        for phi, first, value in zip(phis, carried, found, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(value, builder.block)
        builder.branch(test)
        builder.position_at_end(after)
        return index, phis
