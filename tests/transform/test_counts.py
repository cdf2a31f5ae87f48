"""How many instructions derivative tapes have: what passes save, what is zero by structure."""

import naive
import numpy as np
import pytest
from checks import assert_same_bits, evaluate

import numtape as nt
from numtape.ops.table import ROWS
from numtape.tape.flat import VECTOR
from numtape.transform import derivation
from numtape.transform.builder import NO_RULES, Builder
from numtape.transform.derivative import adjoint, jacobian_by_columns, jacobian_by_rows, tangent
from numtape.transform.passes import optimize, remove_dead


def operations(tape):
    """The names of a tape's operations, elementwise ones of vectors included."""
    names = [ROWS[opcode].name for opcode in tape.code[:, 0].tolist() if opcode != VECTOR]
    return names + [ROWS[v.opcode].name if v.kind == "map" else v.kind for v in tape.vectors]


@pytest.fixture
def without_rules(monkeypatch):
    """Differentiate with a builder that folds, simplifies and shares nothing."""

    class Plain(Builder):
        def __init__(self, inputs):
            super().__init__(inputs, NO_RULES)

    def switch():
        monkeypatch.setattr(derivation, "Builder", Plain)

    return switch


def rosenbrock(x):
    total = 0.0
    for i in range(len(x) - 1):
        total = total + 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return total


def test_rosenbrock():
    x = np.linspace(0.5, 1.5, 100)
    flat = nt.record(rosenbrock, x).flat
    both = jacobian_by_rows(flat, np.arange(100))
    assert both.instructions <= 1700
    np.testing.assert_allclose(
        evaluate(both, x)[1:], naive.adjoints(flat, naive.evaluate(flat, x), [1.0]), rtol=1e-13
    )


def test_rosenbrock_of_arrays():
    """As arrays: a number of vector instructions that does not grow with n."""

    def f(x):
        return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)

    counts = []
    for n in (20, 100, 1000):
        flat = nt.record(f, np.linspace(0.5, 1.5, n)).flat
        counts.append(jacobian_by_rows(flat, np.arange(n)).instructions)
    assert counts[0] == counts[1] == counts[2] <= 25


def reprojection(x):
    """A point seen through a camera: Rodrigues rotation, distortion, a weight."""
    angle = np.sqrt(x[0] ** 2 + x[1] ** 2 + x[2] ** 2)
    cosine, sine = np.cos(angle), np.sin(angle)
    a, b, c = x[0] / angle, x[1] / angle, x[2] / angle
    p, q, r = x[11] - x[3], x[12] - x[4], x[13] - x[5]
    along = (a * p + b * q + c * r) * (1.0 - cosine)
    u = p * cosine + (b * r - c * q) * sine + a * along
    v = q * cosine + (c * p - a * r) * sine + b * along
    w = r * cosine + (a * q - b * p) * sine + c * along
    u, v = u / w, v / w
    radius = u * u + v * v
    scale = x[6] * (1.0 + radius * (x[9] + radius * x[10]))
    return np.array([x[14] * (scale * u + x[7] - 0.3), x[14] * (scale * v + x[8] + 0.2)])


CAMERA = np.array(
    [0.1, -0.2, 0.3, 0.5, -0.4, -5.0, 1.2, 0.1, -0.05, 0.02, -0.003, 0.6, -0.7, 1.5, 0.9]
)


def test_bundle_adjustment():
    """Both rows share the partials, and those the sine and the cosine of the value."""
    flat = nt.record(reprojection, CAMERA).flat
    both = jacobian_by_rows(flat, np.arange(15))
    assert both.instructions <= 310
    names = operations(both)
    assert names.count("sin") == names.count("cos") == names.count("sqrt") == 1
    expected = naive.jacobian(flat, CAMERA)
    np.testing.assert_allclose(evaluate(both, CAMERA)[2:].reshape(2, 15), expected, rtol=1e-12)


def test_bundle_adjustment_picks_the_shorter_mode():
    tape = nt.record(reprojection, CAMERA)
    assert tape.derivatives.cheaper_mode(np.arange(15)) == "reverse"
    assert tape.adjoint().flat.instructions < tape.tangent().flat.instructions


def by_minors(a):
    """The determinant, expanded along the first row; minors are worked out again and again."""
    if len(a) == 1:
        return a[0, 0]
    total = 0.0
    for j in range(len(a)):
        minor = by_minors(np.delete(a[1:], j, axis=1))
        total = total + (-a[0, j] if j % 2 else a[0, j]) * minor
    return total


def test_determinant_by_minors(without_rules):
    i, j = np.indices((7, 7))
    a = j / (1 + i) + np.eye(7)
    flat = nt.record(by_minors, a).flat
    both = jacobian_by_rows(flat, np.arange(49))
    det = 5.407142857142857
    y = evaluate(both, a)
    np.testing.assert_allclose(y[0], det, rtol=1e-13)
    np.testing.assert_allclose(
        y[1:].reshape(7, 7), det * np.eye(7) - i / (1 + j), rtol=1e-12, atol=1e-13 * det
    )
    without_rules()
    plain = jacobian_by_rows(flat, np.arange(49))
    assert plain.instructions >= 8 * both.instructions
    np.testing.assert_allclose(evaluate(plain, a), y, rtol=1e-12, atol=1e-13 * det)


def test_the_value_by_minors_is_shared_too():
    flat = nt.record(by_minors, np.eye(6) + 0.1).flat
    # 2**6 - 1 distinct minors, of k terms each: k products, k - 1 sums.
    assert optimize(flat).instructions <= 6 * 2**6 < flat.instructions / 6


# zero by structure


def shifts(x, times):
    """Each step moves everything by one place and lets a zero in."""
    for _ in range(times):
        x = np.concatenate([[0.0], np.sin(x[:-1])])
    return x


# As scalar instructions, and as arrays.
@pytest.mark.parametrize("size", [8, 30])
def test_a_chain_of_shifts(size):
    """The last three only know the first inputs: all other derivatives are no slots at all."""
    kept = 3
    flat = nt.record(lambda x: shifts(x, size - kept), np.linspace(0.2, 1.0, size)).flat
    moved = np.zeros((size, size), bool)
    moved[np.arange(size - kept, size), np.arange(kept)] = True
    for by in (jacobian_by_columns, jacobian_by_rows):
        derived = by(flat, np.arange(size))
        y = evaluate(derived, flat.point)[size:].reshape(size, size)
        assert ((y != 0.0) == moved).all()
        assert ((derived.outputs[size:].reshape(size, size) != 0) == moved).all()


def test_a_chain_of_shifts_has_no_arithmetic_for_zeros():
    flat = nt.record(lambda x: shifts(x, 5), np.linspace(0.2, 1.0, 8)).flat
    both = jacobian_by_rows(flat, np.arange(8))
    # Three outputs of five sines: five cosines, and four products each.
    assert operations(optimize(flat)).count("sin") == 15
    assert operations(both).count("cos") == 15
    assert operations(both).count("multiply") == 12
    assert set(operations(both)) == {"sin", "cos", "multiply"}


@pytest.mark.parametrize("size", [8, 30])
def test_what_is_wholly_shifted_out_has_no_derivative(size):
    flat = nt.record(lambda x: np.sum(shifts(x, size)) + x[0], np.linspace(0.2, 1.0, size)).flat
    both = jacobian_by_rows(flat, np.arange(size))
    assert "cos" not in operations(both)
    np.testing.assert_array_equal(evaluate(both, flat.point)[1:], np.eye(size)[0])


ZERO = {
    "constant": lambda x: np.stack([x[0] * 2.0, 3.0]),
    "floor": lambda x: np.floor(x[0] * x[1]),
    "sign": lambda x: np.sign(np.exp(x[0])),
    "comparison": lambda x: (x[0] > x[1]) * 2.0,
    "stopped": lambda x: nt.stop_gradient(np.sin(x[0])) * 2.0,
    "x**0": lambda x: np.exp(x[0] ** 0.0),
}


@pytest.mark.parametrize("name", ZERO)
def test_flat_operations_have_no_derivative_code(name):
    flat = nt.record(ZERO[name], np.array([1.5, 2.5])).flat
    value = remove_dead(optimize(flat))
    for by in (jacobian_by_rows, jacobian_by_columns):
        assert by(flat, np.arange(2)).instructions == value.instructions
    for way in (tangent, adjoint):
        assert way(flat).instructions <= value.instructions + 1  # 2.0 times the seed


def test_only_what_the_chosen_inputs_move_is_differentiated():
    def f(x):
        return np.exp(np.sin(x[0])) * 2.0 + np.tanh(np.sqrt(x[1]))

    flat = nt.record(f, np.array([1.0, 2.0])).flat
    for by in (jacobian_by_rows, jacobian_by_columns):
        names = operations(by(flat, np.array([0])))
        assert "cosh" not in names
        assert names.count("sqrt") == 1
        assert "cos" in names


# what partials share with the value


def test_partials_reuse_the_value():
    """Of exp, tan, sqrt and division the partials are made from the result."""
    flat = nt.record(lambda x: np.exp(x) * np.sqrt(x) + 1.0 / np.tan(x), 0.7).flat
    names = operations(jacobian_by_rows(flat, np.arange(1)))
    assert [names.count(name) for name in ("exp", "sqrt", "tan")] == [1, 1, 1]


def test_seeds_share_the_partials():
    """Of ten columns, each tanh's partial is worked out once."""

    def f(x):
        y = x[0]
        for k in range(1, 10):
            y = np.tanh(y * x[k])
        return y

    flat = nt.record(f, np.linspace(0.5, 1.0, 10)).flat
    for by in (jacobian_by_rows, jacobian_by_columns):
        assert operations(by(flat, np.arange(10))).count("cosh") == 9


def test_a_hessian_shares_what_its_rows_have_in_common():
    flat = nt.record(lambda x: np.exp(np.sum(x[0] * x[1] * x[2])), np.array([0.1, 0.2, 0.3])).flat
    first = jacobian_by_rows(flat, np.arange(3))
    second = jacobian_by_columns(first, np.arange(3))
    assert operations(second).count("exp") == 1
    assert second.instructions <= 40


@pytest.mark.parametrize("name", ["add", "multiply"])
def test_the_first_adjoint_is_not_added_to_zero(name):
    flat = nt.record({"add": np.add, "multiply": np.multiply}[name], 1.0, 2.0).flat
    assert jacobian_by_rows(flat, np.arange(2)).instructions == 1


def test_optimising_a_derivative_tape_finds_little_more():
    for function, x in ((reprojection, CAMERA), (rosenbrock, np.linspace(0.5, 1.5, 20))):
        derived = jacobian_by_rows(nt.record(function, x).flat, np.arange(len(x)))
        again = optimize(derived)
        assert again.instructions >= 0.98 * derived.instructions
        assert_same_bits(evaluate(again, x), evaluate(derived, x))


def test_summary_before_and_after():
    tape = nt.record(by_minors, np.eye(5) + 0.1)
    before, after = tape.summary(), tape.optimize().summary()
    assert f"{tape.flat.instructions}" in before.replace(",", "")
    assert f"{tape.optimize().flat.instructions}" in after.replace(",", "")
