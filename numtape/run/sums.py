"""NumPy's order of adding up, in machine code.

A sum is as much a number of the program as anything else: where it is subtracted from an equal
one, or divided by it, what is left is as good as both are the same to the last bit. So there is
one order. NumPy adds up a run of numbers in halves, and halves of halves, down to blocks of 128
numbers or less; in a block there are eight sums side by side (`pairwise_sum` in its
``loops_utils.h.src``). The kernels call NumPy's loop, and groups of instructions do the same:
a run of a block or less in registers (`add_across`), and a longer one by the functions
that are written here, as its numbers come.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

__all__ = ["BLOCK", "PAIRWISE", "SIDE_BY_SIDE", "STATE", "WAITING", "add_across"]

BLOCK = 128  # the most numbers that are added up without being cut in two
WAITING = 4 * BLOCK  # and the most that wait for others before they are
SIDE_BY_SIDE = 8  # sums in a block

# Words of the state of a run: its length, how many halves are to be added to, how long the
# current part is, how many numbers of it are there already, and then for each half how long
# the second one is (0 once that has begun), and what came of the first one.
STATE = 4 + 2 * 64

_I32 = ir.IntType(32)

PAIRWISE = f"""
declare void @llvm.memmove.p0.p0.i64(ptr, ptr, i64, i1)

; Begin a run, or go down to the first part of its second half.
define internal void @descend(ptr %state, i64 %length) {{
entry:
  %depths = getelementptr i64, ptr %state, i64 1
  %blocks = getelementptr i64, ptr %state, i64 2
  %before = load i64, ptr %depths
  br label %test
test:
  %depth = phi i64 [%before, %entry], [%deeper, %cut]
  %m = phi i64 [%length, %entry], [%first, %cut]
  %is_block = icmp sle i64 %m, {WAITING}
  br i1 %is_block, label %done, label %cut
cut:
  %half = lshr i64 %m, 1
  %first = and i64 %half, -{SIDE_BY_SIDE}
  %second = sub i64 %m, %first
  %twice = shl i64 %depth, 1
  %place = add i64 %twice, 4
  %frame = getelementptr i64, ptr %state, i64 %place
  store i64 %second, ptr %frame
  %deeper = add i64 %depth, 1
  br label %test
done:
  store i64 %depth, ptr %depths
  store i64 %m, ptr %blocks
  ret void
}}

define void @sum_begin(ptr %state, i64 %length) {{
  store i64 %length, ptr %state
  %depths = getelementptr i64, ptr %state, i64 1
  store i64 0, ptr %depths
  %held = getelementptr i64, ptr %state, i64 3
  store i64 0, ptr %held
  call void @descend(ptr %state, i64 %length)
  ret void
}}

; Of a block.
define internal double @sum_block(ptr %a, i64 %n) {{
entry:
  %whole = and i64 %n, -{SIDE_BY_SIDE}
  %is_few = icmp eq i64 %whole, 0
  br i1 %is_few, label %few, label %first
few:
  %alone = call double @sum_rest(ptr %a, i64 0, i64 %n, double 0x8000000000000000)
  ret double %alone
first:
  %v0 = load <8 x double>, ptr %a, align 8
  %sum = call double @sum_from(ptr %a, i64 {SIDE_BY_SIDE}, i64 %n, <8 x double> %v0)
  ret double %sum
}}

; Of a block whose first vectors have been added up.
define internal double @sum_from(ptr %a, i64 %start, i64 %n, <8 x double> %so_far) {{
entry:
  %whole = and i64 %n, -{SIDE_BY_SIDE}
  br label %test
test:
  %i = phi i64 [%start, %entry], [%i2, %body]
  %s = phi <8 x double> [%so_far, %entry], [%s2, %body]
  %more = icmp slt i64 %i, %whole
  br i1 %more, label %body, label %across
body:
  %p = getelementptr double, ptr %a, i64 %i
  %v = load <8 x double>, ptr %p, align 8
  %s2 = fadd <8 x double> %s, %v
  %i2 = add i64 %i, {SIDE_BY_SIDE}
  br label %test
across:
  %a8 = shufflevector <8 x double> %s, <8 x double> poison, <4 x i32> <i32 0, i32 2, i32 4, i32 6>
  %b8 = shufflevector <8 x double> %s, <8 x double> poison, <4 x i32> <i32 1, i32 3, i32 5, i32 7>
  %s4 = fadd <4 x double> %a8, %b8
  %a4 = shufflevector <4 x double> %s4, <4 x double> poison, <2 x i32> <i32 0, i32 2>
  %b4 = shufflevector <4 x double> %s4, <4 x double> poison, <2 x i32> <i32 1, i32 3>
  %pair = fadd <2 x double> %a4, %b4
  %e0 = extractelement <2 x double> %pair, i32 0
  %e1 = extractelement <2 x double> %pair, i32 1
  %sum = fadd double %e0, %e1
  %is_all = icmp eq i64 %whole, %n
  br i1 %is_all, label %done, label %rest
done:
  ret double %sum
rest:
  %total = call double @sum_rest(ptr %a, i64 %whole, i64 %n, double %sum)
  ret double %total
}}

; One after the other.
define internal double @sum_rest(ptr %a, i64 %start, i64 %n, double %so_far) {{
entry:
  br label %test
test:
  %k = phi i64 [%start, %entry], [%k2, %one]
  %r = phi double [%so_far, %entry], [%r2, %one]
  %is_left = icmp slt i64 %k, %n
  br i1 %is_left, label %one, label %done
one:
  %q = getelementptr double, ptr %a, i64 %k
  %w = load double, ptr %q, align 8
  %r2 = fadd double %r, %w
  %k2 = add i64 %k, 1
  br label %test
done:
  ret double %r
}}

; Of a few blocks. Four of them go together, because each addition waits for the one before.
define internal double @sum_blocks(ptr %a, i64 %n) {{
entry:
  %is_block = icmp sle i64 %n, {BLOCK}
  br i1 %is_block, label %block, label %cut
block:
  %alone = call double @sum_block(ptr %a, i64 %n)
  ret double %alone
cut:
  %half = lshr i64 %n, 1
  %left = and i64 %half, -{SIDE_BY_SIDE}
  %right = sub i64 %n, %left
  %h0 = lshr i64 %left, 1
  %n0 = and i64 %h0, -{SIDE_BY_SIDE}
  %n1 = sub i64 %left, %n0
  %h2 = lshr i64 %right, 1
  %n2 = and i64 %h2, -{SIDE_BY_SIDE}
  %n3 = sub i64 %right, %n2
  %b = getelementptr double, ptr %a, i64 %left
  %are_cut = icmp sgt i64 %left, {BLOCK}
  %is_block1 = icmp sle i64 %n1, {BLOCK}
  %is_block3 = icmp sle i64 %n3, {BLOCK}
  %are_blocks = and i1 %is_block1, %is_block3
  %are_four = and i1 %are_cut, %are_blocks
  br i1 %are_four, label %four, label %two
two:
  %l = call double @sum_blocks(ptr %a, i64 %left)
  %r = call double @sum_blocks(ptr %b, i64 %right)
  %both = fadd double %l, %r
  ret double %both
four:
  %a1 = getelementptr double, ptr %a, i64 %n0
  %a3 = getelementptr double, ptr %b, i64 %n2
  %v0 = load <8 x double>, ptr %a, align 8
  %v1 = load <8 x double>, ptr %a1, align 8
  %v2 = load <8 x double>, ptr %b, align 8
  %v3 = load <8 x double>, ptr %a3, align 8
  br label %test
test:
  %i = phi i64 [{SIDE_BY_SIDE}, %four], [%i2, %body]
  %s0 = phi <8 x double> [%v0, %four], [%t0, %body]
  %s1 = phi <8 x double> [%v1, %four], [%t1, %body]
  %s2 = phi <8 x double> [%v2, %four], [%t2, %body]
  %s3 = phi <8 x double> [%v3, %four], [%t3, %body]
  %more = icmp slt i64 %i, %n0
  br i1 %more, label %body, label %across
body:
  %p0 = getelementptr double, ptr %a, i64 %i
  %p1 = getelementptr double, ptr %a1, i64 %i
  %p2 = getelementptr double, ptr %b, i64 %i
  %p3 = getelementptr double, ptr %a3, i64 %i
  %w0 = load <8 x double>, ptr %p0, align 8
  %w1 = load <8 x double>, ptr %p1, align 8
  %w2 = load <8 x double>, ptr %p2, align 8
  %w3 = load <8 x double>, ptr %p3, align 8
  %t0 = fadd <8 x double> %s0, %w0
  %t1 = fadd <8 x double> %s1, %w1
  %t2 = fadd <8 x double> %s2, %w2
  %t3 = fadd <8 x double> %s3, %w3
  %i2 = add i64 %i, {SIDE_BY_SIDE}
  br label %test
across:
  %f0 = call double @sum_from(ptr %a, i64 %n0, i64 %n0, <8 x double> %s0)
  %f1 = call double @sum_from(ptr %a1, i64 %n0, i64 %n1, <8 x double> %s1)
  %f2 = call double @sum_from(ptr %b, i64 %n0, i64 %n2, <8 x double> %s2)
  %f3 = call double @sum_from(ptr %a3, i64 %n0, i64 %n3, <8 x double> %s3)
  %first = fadd double %f0, %f1
  %second = fadd double %f2, %f3
  %all = fadd double %first, %second
  ret double %all
}}

; Add up the parts that are there of so many numbers; the rest goes to the front. Where the run
; is complete, add it to the result and begin the next one.
define void @sum_more(ptr %state, ptr %numbers, i64 %count, ptr %result) {{
entry:
  %depths = getelementptr i64, ptr %state, i64 1
  %blocks = getelementptr i64, ptr %state, i64 2
  %held = getelementptr i64, ptr %state, i64 3
  br label %test
test:
  %start = phi i64 [0, %entry], [%stop, %second], [%stop, %complete]
  %size = load i64, ptr %blocks
  %stop = add i64 %start, %size
  %is_there = icmp sle i64 %stop, %count
  br i1 %is_there, label %block, label %out
block:
  %here = getelementptr double, ptr %numbers, i64 %start
  %sum = call double @sum_blocks(ptr %here, i64 %size)
  %depth = load i64, ptr %depths
  br label %up
up:
  %d = phi i64 [%depth, %block], [%above, %add]
  %value = phi double [%sum, %block], [%total, %add]
  %is_top = icmp eq i64 %d, 0
  br i1 %is_top, label %complete, label %half
half:
  %above = sub i64 %d, 1
  %twice = shl i64 %above, 1
  %place = add i64 %twice, 4
  %frame = getelementptr i64, ptr %state, i64 %place
  %firsts = getelementptr i64, ptr %frame, i64 1
  %left = load i64, ptr %frame
  %is_second = icmp eq i64 %left, 0
  br i1 %is_second, label %add, label %second
add:
  %first = load double, ptr %firsts
  %total = fadd double %first, %value
  br label %up
second:
  store double %value, ptr %firsts
  store i64 0, ptr %frame
  store i64 %d, ptr %depths
  call void @descend(ptr %state, i64 %left)
  br label %test
complete:
  %before = load double, ptr %result
  %after = fadd double %before, %value
  store double %after, ptr %result
  %length = load i64, ptr %state
  store i64 0, ptr %depths
  call void @descend(ptr %state, i64 %length)
  br label %test
out:
  %kept = sub i64 %count, %start
  store i64 %kept, ptr %held
  %from = getelementptr double, ptr %numbers, i64 %start
  %bytes = shl i64 %kept, 3
  call void @llvm.memmove.p0.p0.i64(ptr %numbers, ptr %from, i64 %bytes, i1 false)
  ret void
}}
"""


def add_across(builder: ir.IRBuilder, sums: Sequence[Any], rest: Sequence[Any]) -> Any:
    """Sum a block: its eight sums, in one or more vectors, and then what is left."""
    vectors = list(sums)
    while vectors and isinstance(vectors[0].type, ir.VectorType):
        vectors = [_halved(builder, vector) for vector in vectors]
    while len(vectors) > 1:
        vectors = [
            builder.fadd(*vectors[k : k + 2]) if k + 1 < len(vectors) else vectors[k]
            for k in range(0, len(vectors), 2)
        ]
    numbers = [*vectors, *rest]
    total = numbers[0]
    for number in numbers[1:]:
        total = builder.fadd(total, number)
    return total


def _halved(builder: ir.IRBuilder, vector: Any) -> Any:
    """Sum each two neighbours."""
    width = vector.type.count
    if width == 2:
        return builder.fadd(*(builder.extract_element(vector, _I32(k)) for k in range(2)))
    kind = ir.VectorType(_I32, width // 2)
    parts = [
        builder.shuffle_vector(
            vector,
            ir.Constant(vector.type, ir.Undefined),
            ir.Constant(kind, list(range(k, width, 2))),
        )
        for k in range(2)
    ]
    return builder.fadd(*parts)
