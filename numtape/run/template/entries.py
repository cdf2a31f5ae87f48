"""Kernels that a workspace calls: evaluating at one point or many, partials, sweeps, gradients."""

import numpy as np

from numtape.jit.compile import kernel
from numtape.run.template.addresses import (
    GRADIENT_OUTPUT,
    GUARD_SLOTS,
    GUARDS,
    HANDLE_SIZE,
    INSTRUCTIONS,
    LANE_VALUES,
    LANES,
    LOOPS,
    NATIVE,
    OUTPUTS,
    RUN,
    SCRATCH,
    SLOTS,
    UNFINISHED,
    VALUES,
    ZERO,
    float64_array,
    int64_array,
    run_code,
)
from numtape.run.template.points import check_lanes, load_lanes, run_lanes, store_lanes
from numtape.run.template.scalars import (
    check_guards,
    linearize_scalars,
    load_inputs,
    noticed,
    run_scalars,
    store_outputs,
    sweep_adjoints,
    sweep_tangents,
)

# <part>

# What a workspace calls. Points, seeds and results are contiguous float64.


@kernel
def evaluate(handle, x, y):
    """Evaluate a tape of scalar instructions."""
    h = int64_array(handle, (HANDLE_SIZE,))
    load_inputs(h, x)
    code = int64_array(h[NATIVE], (2,))[1]
    status = np.int64(UNFINISHED)
    if code != 0:
        status = run_code(code, h[VALUES], h[ZERO], h[LOOPS], h[ZERO])
    if status == UNFINISHED:
        run_scalars(handle, np.int64(0), h[INSTRUCTIONS])
        status = np.int64(check_guards(h))
    store_outputs(h, y)
    return noticed(h, status)


@kernel
def evaluate_mixed(handle, x, y):
    """Evaluate a tape that has vector instructions."""
    h = int64_array(handle, (HANDLE_SIZE,))
    load_inputs(h, x)
    run_code(h[RUN], handle, h[ZERO], h[ZERO], h[ZERO])
    store_outputs(h, y)
    return noticed(h, np.int64(check_guards(h)))


@kernel
def evaluate_lanes(handle, inputs, outputs, sources, targets, first, stop, failed, outcomes):
    """Evaluate a tape of scalar instructions at the points `first` to `stop`, by lanes.

    See `load_lanes` and `store_lanes` for the tables, and `check_lanes` for `failed`
    and `outcomes`, which have an entry for each of these points, or none where the
    guards are not to be looked at. Returns how many points failed.
    """
    h = int64_array(handle, (HANDLE_SIZE,))
    failures = 0
    for start in range(first, stop, h[LANES]):
        count = min(h[LANES], stop - start)
        width = (count + 7) // 8 * 8
        load_lanes(h, inputs, sources, start, count, width)
        code = int64_array(h[NATIVE], (2,))[1]
        if code != 0:
            run_code(code, h[VALUES], h[LANE_VALUES], h[LOOPS], width)
        else:
            run_lanes(handle, width)
        store_lanes(h, outputs, targets, start, count)
        if failed.size != 0:
            begin = start - first
            end = begin + count
            failures += check_lanes(h, count, failed[begin:end], outcomes[begin:end])
    return failures


@kernel
def evaluate_points(handle, inputs, outputs, sources, targets, first, stop, failed, outcomes):
    """Do what `evaluate_lanes` does for a tape with vector instructions: point by point."""
    h = int64_array(handle, (HANDLE_SIZE,))
    v = float64_array(h[VALUES], (h[SLOTS],))
    guarded = int64_array(h[GUARD_SLOTS], (h[GUARDS],))
    failures = 0
    for k in range(first, stop):
        source = k if sources.size == 0 else sources[k]
        for i in range(inputs.shape[0]):
            v[inputs[i, 0]] = float64_array(inputs[i, 1] + source * inputs[i, 2], (1,))[0]
        run_code(h[RUN], handle, h[ZERO], h[ZERO], h[ZERO])
        target = k if targets.size == 0 else targets[k]
        for i in range(outputs.shape[0]):
            float64_array(outputs[i, 1] + target * outputs[i, 2], (1,))[0] = v[outputs[i, 0]]
        if failed.size != 0:
            guard = check_guards(h)
            failed[k - first] = guard
            if guard >= 0:
                outcomes[k - first] = v[guarded[guard]]
                failures += 1
    return failures


@kernel
def tangents(handle, seeds, y_tangents):
    """Sweep forward after `linearize`: a row of `y_tangents` for each row of `seeds`."""
    h = int64_array(handle, (HANDLE_SIZE,))
    for k in range(seeds.shape[0]):
        sweep_tangents(h, seeds[k], y_tangents[k])
    return -1


@kernel
def adjoints(handle, seeds, x_adjoints):
    """Sweep backward after `linearize`: a row of `x_adjoints` for each row of `seeds`."""
    h = int64_array(handle, (HANDLE_SIZE,))
    for k in range(seeds.shape[0]):
        sweep_adjoints(h, seeds[k], x_adjoints[k])
    return -1


# <for tapes of common operations too>
@kernel
def linearize(handle, x, y):
    """Evaluate a tape of scalar instructions, and keep the partials for sweeps."""
    h = int64_array(handle, (HANDLE_SIZE,))
    load_inputs(h, x)
    linearize_scalars(handle)
    store_outputs(h, y)
    return check_guards(h)


@kernel
def gradient(handle, x, g):
    """Compute the gradient of a scalar tape's first output; its value goes to GRADIENT_OUTPUT."""
    h = int64_array(handle, (HANDLE_SIZE,))
    load_inputs(h, x)
    linearize_scalars(handle)
    scratch = float64_array(h[SCRATCH], (4,))
    scratch[3] = 1.0
    sweep_adjoints(h, scratch[3:4], g)
    store_outputs(h, float64_array(h[GRADIENT_OUTPUT], (h[OUTPUTS],)))
    return noticed(h, np.int64(check_guards(h)))


# <end>
