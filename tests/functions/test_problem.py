"""Problems as solvers take them: SciPy's, and Ipopt's callbacks."""

import sys

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from checks import central_jacobian

import numtape as nt

X = np.array([1.0, 5.0, 5.0, 1.0])


def rosenbrock(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def cost(x):
    return x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2]


def limits(x):
    return np.array([x[0] * x[1] * x[2] * x[3], np.sum(x**2)])


SOLUTION = [1.0, 4.74299964, 3.82114998, 1.37940829]  # Hock and Schittkowski's problem 71


def plain(matrix):
    return matrix if isinstance(matrix, np.ndarray) else matrix.toarray()


@pytest.mark.parametrize("sparse", [False, True])
def test_values_and_derivatives(sparse):
    p = nt.problem(cost, limits, sparse=sparse)
    assert p.fun(X) == cost(X)
    np.testing.assert_allclose(p.jac(X), nt.grad(cost)(X), rtol=1e-14)
    np.testing.assert_allclose(plain(p.hess(X)), nt.hessian(cost)(X), rtol=1e-14)
    v = np.arange(4.0)
    np.testing.assert_allclose(p.hessp(X, v), nt.hessian(cost)(X) @ v, rtol=1e-14)
    np.testing.assert_array_equal(p.constraints(X), limits(X))
    np.testing.assert_allclose(plain(p.constraints_jac(X)), nt.jacobian(limits)(X), rtol=1e-14)
    multipliers = np.array([0.5, -2.0])
    for factor in (0.0, 1.0, 3.0):
        expected = central_jacobian(
            lambda x, factor=factor: (
                factor * nt.grad(cost)(x) + multipliers @ nt.jacobian(limits)(x)
            ),
            X,
        )
        by_name = p.lagrangian_hess(X, multipliers, objective_factor=factor)
        np.testing.assert_allclose(plain(by_name), expected, rtol=1e-6, atol=1e-6)
        by_place = p.lagrangian_hess(X, multipliers, factor)
        np.testing.assert_array_equal(plain(by_place), plain(by_name))
    np.testing.assert_array_equal(
        plain(p.lagrangian_hess(X, multipliers)), plain(p.lagrangian_hess(X, multipliers, 1.0))
    )


def test_what_was_computed_at_a_point_is_remembered():
    p = nt.problem(rosenbrock)
    for x in (X, X + 1.0, X + 2.0, X + 3.0):
        assert p.fun(x) == rosenbrock(x)
        for _ in range(2):
            np.testing.assert_array_equal(p.jac(x), nt.grad(rosenbrock)(x))
            p.hess(x)
            assert p.fun(x) == rosenbrock(x)
    assert p.counts == {"fun": 4, "jac": 4, "hess": 4}
    p.fun(X + 4.0)
    assert p.counts["jac"] == 5  # as at all points before
    p.fun(X + 5.0)
    p.fun(X + 6.0)
    assert p.counts["jac"] == 5  # no longer


def test_points_are_remembered_by_their_values():
    p = nt.problem(rosenbrock)
    x = X.copy()
    first = p.jac(x)
    x[0] = 2.0  # the solver's own array
    np.testing.assert_array_equal(p.jac(x), nt.grad(rosenbrock)(x))
    kept = p.jac(x)
    kept[:] = 0.0
    np.testing.assert_array_equal(p.jac(x), nt.grad(rosenbrock)(x))
    np.testing.assert_array_equal(p.jac(X), first)
    assert p.fun(X.astype(int)) == rosenbrock(X)
    with np.errstate(invalid="ignore"):
        assert np.isnan(p.fun(np.full(4, np.nan)))


def test_paths():
    def bent(x):
        return np.sum(x**2) if x[0] > 0.0 else np.sum(np.abs(x) ** 3)

    p = nt.problem(bent, sparse=True)
    for x in (X, -X, 2 * X):
        np.testing.assert_allclose(p.jac(x), nt.grad(bent)(x))
        np.testing.assert_allclose(p.hess(x).toarray(), nt.hessian(bent)(x))


METHODS = ["BFGS", "L-BFGS-B", "SLSQP", "Newton-CG", "trust-ncg", "trust-constr"]


@pytest.mark.parametrize(
    ("method", "sparse"),
    # SciPy wants a dense Hessian for "trust-exact".
    [*((method, sparse) for method in METHODS for sparse in (False, True)), ("trust-exact", False)],
)
def test_minimize(method, sparse):
    p = nt.problem(rosenbrock, sparse=sparse)
    more = {}
    if method in ("trust-exact", "trust-constr"):
        more["hess"] = p.hess
    if method in ("Newton-CG", "trust-ncg"):
        more["hessp"] = p.hessp
    start = np.full(6, -1.2)
    options = {"maxiter": 1000}
    found = scipy.optimize.minimize(p.fun, start, jac=p.jac, method=method, options=options, **more)
    np.testing.assert_allclose(found.x, np.ones(6), atol=1e-3)
    assert p.counts["fun"] <= found.nfev + 1


def test_more_arguments():
    p = nt.problem(lambda x, a: np.sum((x - a) ** 4))
    found = scipy.optimize.minimize(
        p.fun,
        np.zeros(2),
        args=(3.0,),
        jac=p.jac,
        hessp=lambda x, v, a: p.hessp(x, v, a),
        method="trust-ncg",
        options={"gtol": 1e-9},
    )
    np.testing.assert_allclose(found.x, [3.0, 3.0], atol=1e-2)


@pytest.mark.parametrize("sparse", [False, True])
def test_least_squares(sparse):
    t = np.linspace(0.0, 1.0, 40)
    p = nt.problem(lambda q: q[0] * np.exp(-q[1] * t) - 2.0 * np.exp(-1.5 * t), sparse=sparse)
    solver = {"tr_solver": "lsmr"} if sparse else {}
    found = scipy.optimize.least_squares(p.fun, np.ones(2), jac=p.jac, **solver)
    np.testing.assert_allclose(found.x, [2.0, 1.5], rtol=1e-7)


def test_roots():
    p = nt.problem(lambda x: np.array([x[0] + x[1] - 3.0, x[0] ** 2 + x[1] ** 2 - 9.0]))
    found = scipy.optimize.root(p.fun, [1.0, 5.0], jac=p.jac)
    np.testing.assert_allclose(found.x, [0.0, 3.0], atol=1e-9)


@pytest.mark.parametrize("method", ["BDF", "Radau", "LSODA"])
def test_differential_equations(method):
    p = nt.problem(
        lambda t, y: np.array([y[1], 5.0 * (1.0 - y[0] ** 2) * y[1] - y[0]]),
        argnum=1,
        sparse=method != "LSODA",
    )
    options = {"method": method, "rtol": 1e-6, "atol": 1e-8}
    found = scipy.integrate.solve_ivp(p.fun, (0.0, 5.0), [2.0, 0.0], jac=p.jac, **options)
    plain_one = scipy.integrate.solve_ivp(
        lambda t, y: [y[1], 5.0 * (1.0 - y[0] ** 2) * y[1] - y[0]],
        (0.0, 5.0),
        [2.0, 0.0],
        method="DOP853",
        rtol=1e-10,
        atol=1e-12,
    )
    np.testing.assert_allclose(found.y[:, -1], plain_one.y[:, -1], atol=1e-3)
    assert p.counts["jac"] < p.counts["fun"] / 3  # it is not computed where nobody asks


@pytest.mark.parametrize("sparse", [False, True])
def test_constraints_of_scipys(sparse):
    p = nt.problem(cost, limits, sparse=sparse)
    found = scipy.optimize.minimize(
        *(p.fun, X),
        jac=p.jac,
        hess=p.hess,
        method="trust-constr",
        constraints=[p.scipy_constraint([25.0, 40.0], [np.inf, 40.0])],
        bounds=scipy.optimize.Bounds(1.0, 5.0),
    )
    np.testing.assert_allclose(found.x, SOLUTION, atol=1e-4)


@pytest.mark.parametrize("sparse", [False, True])
def test_the_callbacks_of_ipopt(sparse):
    callbacks = nt.problem(cost, limits, sparse=sparse).ipopt(X)
    rng = np.random.default_rng(0)
    for _ in range(3):
        x, multipliers = rng.uniform(1.0, 5.0, 4), rng.normal(size=2)
        assert callbacks.objective(x) == cost(x)
        np.testing.assert_allclose(callbacks.gradient(x), nt.grad(cost)(x))
        np.testing.assert_allclose(callbacks.constraints(x), limits(x))
        jacobian = np.zeros((2, 4))
        jacobian[callbacks.jacobianstructure()] = callbacks.jacobian(x)
        np.testing.assert_allclose(jacobian, nt.jacobian(limits)(x))
        rows, columns = callbacks.hessianstructure()
        assert (columns <= rows).all()
        hessian = np.zeros((4, 4))
        hessian[rows, columns] = callbacks.hessian(x, multipliers, 0.5)
        hessian += np.tril(hessian, -1).T
        expected = 0.5 * nt.hessian(cost)(x) + sum(
            m * nt.hessian(lambda x, k=k: limits(x)[k])(x) for k, m in enumerate(multipliers)
        )
        np.testing.assert_allclose(hessian, expected, rtol=1e-12, atol=1e-12)


def test_the_callbacks_of_ipopt_without_constraints():
    callbacks = nt.problem(rosenbrock, sparse=True).ipopt(X)
    assert callbacks.constraint_count == 0
    assert callbacks.constraints(X).shape == (0,)
    assert callbacks.jacobian(X).shape == (0,)
    rows, columns = callbacks.hessianstructure()
    hessian = np.zeros((4, 4))
    hessian[rows, columns] = callbacks.hessian(X, np.zeros(0), 2.0)
    np.testing.assert_allclose(hessian, np.tril(2.0 * nt.hessian(rosenbrock)(X)), rtol=1e-13)


def test_structures_of_ipopt_and_other_paths():
    def bent(x):
        return x[0] * x[1] + x[2] ** 2 if x[3] > 0.0 else x[2] ** 3 * x[3]

    narrow = nt.problem(bent, sparse=True).ipopt(X)
    with pytest.raises(nt.InputError, match="row 3 and column 2"):
        narrow.hessian(-X, np.zeros(0), 1.0)

    def fewer(x):
        return x[0] * x[1] + x[2] ** 2 if x[3] > 0.0 else x[2] ** 3

    wide = nt.problem(fewer, sparse=True).ipopt(X)
    hessian = np.zeros((4, 4))
    hessian[wide.hessianstructure()] = wide.hessian(-X, np.zeros(0), 1.0)
    np.testing.assert_allclose(hessian, nt.hessian(fewer)(-X))


def test_by_ipopt():
    pytest.importorskip("cyipopt")
    p = nt.problem(cost, limits, sparse=True)
    x, info = p.ipopt(X).solve(
        X, bounds=(1.0, 5.0), constraint_bounds=([25.0, 40.0], [2e19, 40.0]), print_level=0
    )
    assert info["status"] == 0
    np.testing.assert_allclose(x, SOLUTION, rtol=1e-6)


def test_without_ipopt(monkeypatch):
    monkeypatch.setitem(sys.modules, "cyipopt", None)
    with pytest.raises(nt.InputError, match=r"numtape\[ipopt\]"):
        nt.problem(rosenbrock).ipopt(X).solve(X)


def test_progress(capsys):
    pytest.importorskip("rich")
    p = nt.problem(rosenbrock)
    with p.progress():
        p.fun(np.zeros(4))
        p.jac(np.zeros(4))
    shown = capsys.readouterr().out
    assert "fun 1, jac 1" in shown
    assert "3" in shown


def test_progress_without_rich(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.live", None)
    with pytest.raises(nt.InputError, match=r"numtape\[cli\]"), nt.problem(rosenbrock).progress():
        pass


def test_misuse():
    with pytest.raises(nt.InputError, match="problem was given"):
        nt.problem(3.0)
    with pytest.raises(nt.InputError, match="problem was given"):
        nt.problem(cost, 3.0)
    p = nt.problem(cost)
    for ask in (
        p.constraints,
        p.constraints_jac,
        lambda x: p.lagrangian_hess(x, np.ones(2)),
    ):
        with pytest.raises(nt.InputError, match="constraints=g"):
            ask(X)
    with pytest.raises(nt.OutputError):
        nt.problem(limits).hess(X)
    with pytest.raises(nt.OutputError):
        nt.problem(limits).hessp(X, X)
