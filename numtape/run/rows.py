"""Points as rows of memory turned into lanes, and lanes into rows, by tiles that fit registers.

A kernel can copy an element at a time from anywhere to anywhere. Where the elements of
a point follow one another in memory, a tile of 8 points by 8 elements is read, turned and
written as 8 vectors, in a fifth of the time.
"""

import threading
from functools import cache
from typing import Any

from llvmlite import binding

from numtape.jit.compiling import uninterrupted
from numtape.locks import held_across_forks
from numtape.run import emitter

__all__ = ["turning_loop"]

_TILE = 8
_ROW = f"<{_TILE} x double>"


def _shuffle(first: str, second: str, chosen: list[int]) -> str:
    places = ", ".join(f"i32 {place}" for place in chosen)
    return f"shufflevector {_ROW} {first}, {_ROW} {second}, <{_TILE} x i32> <{places}>"


def _turned() -> list[str]:
    """Turn the rows %r0.0 to %r0.7; in three rounds they are %r3.0 to %r3.7."""
    lines = []
    for turn in range(3):
        apart = 1 << turn
        for k in range(_TILE):
            if k & apart:
                continue
            # Of two rows, blocks of `apart` elements that are off the diagonal are exchanged.
            low = [place if not place & apart else _TILE + place - apart for place in range(_TILE)]
            high = [place + apart if not place & apart else _TILE + place for place in range(_TILE)]
            pair = f"%r{turn}.{k}", f"%r{turn}.{k + apart}"
            lines.append(f"%r{turn + 1}.{k} = {_shuffle(*pair, low)}")
            lines.append(f"%r{turn + 1}.{k + apart} = {_shuffle(*pair, high)}")
    return lines


def _text() -> str:
    tile = []
    for k in range(_TILE):
        tile += [
            f"%i{k} = add i64 %row, {k}\n%m{k} = mul i64 %i{k}, %source.step",
            f"%p{k} = getelementptr i8, ptr %source.tile, i64 %m{k}",
            f"%r0.{k} = load {_ROW}, ptr %p{k}, align 8",
        ]
    tile += _turned()
    for k in range(_TILE):
        tile += [
            f"%j{k} = add i64 %column, {k}\n%n{k} = mul i64 %j{k}, %target.step",
            f"%q{k} = getelementptr i8, ptr %target.tile, i64 %n{k}",
            f"store {_ROW} %r3.{k}, ptr %q{k}, align 8",
        ]
    body = "\n".join(tile)
    return f"""
define void @turn(ptr %source, i64 %source.step, ptr %target, i64 %target.step,
                  i64 %rows, i64 %columns) {{
entry:
%whole.rows = and i64 %rows, -{_TILE}
%whole.columns = and i64 %columns, -{_TILE}
br label %row.test
row.test:
%row = phi i64 [0, %entry], [%row.next, %rest.done]
%row.more = icmp slt i64 %row, %rows
br i1 %row.more, label %row.body, label %done
row.body:
%row.left = sub i64 %rows, %row
%row.short = icmp slt i64 %row.left, {_TILE}
%row.count = select i1 %row.short, i64 %row.left, i64 {_TILE}
%row.next = add i64 %row, %row.count
%tiled = select i1 %row.short, i64 0, i64 %whole.columns
%target.bytes = mul i64 %row, 8
%target.tile = getelementptr i8, ptr %target, i64 %target.bytes
br label %tile.test
tile.test:
%column = phi i64 [0, %row.body], [%column.next, %tile]
%tile.more = icmp slt i64 %column, %tiled
br i1 %tile.more, label %tile, label %rest.test
tile:
%source.bytes = mul i64 %column, 8
%source.tile = getelementptr i8, ptr %source, i64 %source.bytes
{body}
%column.next = add i64 %column, {_TILE}
br label %tile.test
rest.test:
%c = phi i64 [%tiled, %tile.test], [%c.next, %one.done]
%rest.more = icmp slt i64 %c, %columns
br i1 %rest.more, label %one.start, label %rest.done
one.start:
%c.next = add i64 %c, 1
br label %one.test
one.test:
%r = phi i64 [0, %one.start], [%r.next, %one]
%one.more = icmp slt i64 %r, %row.count
br i1 %one.more, label %one, label %one.done
one:
%at.row = add i64 %row, %r
%from.row = mul i64 %at.row, %source.step
%from.column = mul i64 %c, 8
%from.bytes = add i64 %from.row, %from.column
%from = getelementptr i8, ptr %source, i64 %from.bytes
%element = load double, ptr %from
%to.row = mul i64 %c, %target.step
%to.column = mul i64 %at.row, 8
%to.bytes = add i64 %to.row, %to.column
%to = getelementptr i8, ptr %target, i64 %to.bytes
store double %element, ptr %to
%r.next = add i64 %r, 1
br label %one.test
one.done:
br label %rest.test
rest.done:
br label %row.test
done:
ret void
}}
"""


_LOCK = threading.RLock()  # of two engines one would be freed, with the code that a thread has
held_across_forks(_LOCK)


@cache
def _engine() -> Any:
    """Return where the loop lives, for as long as the process does."""
    engine = binding.create_mcjit_compiler(
        binding.parse_assembly(_text()), emitter.target_machine(2)
    )
    engine.finalize_object()
    return engine


@cache
def turning_loop() -> int:
    """Return the address of a function that writes the columns of some rows one after the other.

    It takes the address of the first row and the bytes to the next, the same of where
    the columns go, the number of rows, and that of columns.
    """
    return uninterrupted(lambda _: _address())


def _address() -> int:
    with _LOCK:
        return int(_engine().get_function_address("turn"))
