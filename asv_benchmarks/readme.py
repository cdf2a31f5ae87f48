"""The README's comparison with other libraries: its table and its plot, from measured numbers.

`side_by_side.py --readme` measures, and keeps what it found in ``docs/images/benchmarks.json``.
The table between the README's two markers and the plot beside that file are drawn from there,
and from nothing else: ``--redraw`` draws them again without measuring.
"""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

__all__ = ["RESULTS", "Results", "Row", "draw", "load", "save", "section", "update"]

_ROOT = Path(__file__).resolve().parents[1]
README = _ROOT / "README.md"
RESULTS = _ROOT / "docs" / "images" / "benchmarks.json"
PLOT = RESULTS.with_suffix(".svg")

START, END = "<!-- benchmarks:start -->", "<!-- benchmarks:end -->"


class Row(TypedDict):
    """One problem: seconds a point by rival, and at how many points each was measured."""

    problem: str
    variables: int
    points: dict[str, int]
    seconds: dict[str, float]


class Results(TypedDict):
    """What was measured, when, and on what."""

    date: str
    machine: str
    versions: dict[str, str]
    flags: str
    one_point: list[Row]
    many_points: list[Row]


# A column, the rival that stands for it at one point, and the one at many: of several ways
# of calling a library the quickest.
_COLUMNS = (
    ("numtape native", "numtape native", "numtape native"),
    ("C++ by hand", "c++", "c++ loop"),
    ("CasADi", "casadi buffer", "casadi map buffer"),
    ("JAX", "jax", "jax vmap"),
    ("PyTorch", "torch", "torch vmap"),
    ("XAD", "xad", "xad loop"),
    ("autograd", "autograd", "autograd loop"),
    ("SciPy differences", "scipy differences", "scipy differences loop"),
)
_VALUE = ("the function in NumPy", "plain value", "plain value")

_TITLES = {
    "rosenbrock loop 100": "Rosenbrock",
    "helmholtz loop 30": "Helmholtz energy",
    "determinant by minors 6": "determinant by minors",
    "heston path 50": "Heston path",
    "bundle adjustment": "bundle adjustment",
    "black scholes": "Black–Scholes",
    "large logistic regression": "logistic regression",
    "gaussian mixture": "Gaussian mixture",
    "network of two layers": "network of two layers",
    "k-means": "k-means",
    "runge-kutta chain": "Runge–Kutta chain",
    "log-sum-exp": "log-sum-exp",
}

# What the README compares: scalar code, then array programs.
POINTS = tuple(name for name in _TITLES if name != "black scholes")


def load(path: Path = RESULTS) -> Results:
    """The numbers measured last."""
    results: Results = json.loads(path.read_text(encoding="utf-8"))
    return results


def save(results: Results, path: Path = RESULTS) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


# the table


def section(results: Results) -> str:
    """What stands between the README's markers."""
    parts = [
        f"![Times of numtape and others, as ratios]({PLOT.relative_to(_ROOT)})",
        "One gradient (for bundle adjustment, a Jacobian of two rows); the others' times are "
        "multiples of numtape's:",
        _table(results["one_point"], 1, (*_COLUMNS, _VALUE)),
        "Derivatives at many points, time a point:",
        _table(results["many_points"], 2, _COLUMNS),
        _how(results),
    ]
    return "\n\n".join(parts)


def _table(rows: list[Row], way: int, columns: tuple[tuple[str, str, str], ...]) -> str:
    columns = tuple(c for c in columns if any(c[way] in row["seconds"] for row in rows))
    points = ["points"] if way == 2 else []
    header = ["problem", "variables", *points, "numtape", *(column[0] for column in columns)]
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    for row in rows:
        line = [_TITLES[row["problem"]], f"{row['variables']:,}"]
        if points:
            line.append(f"{row['points']['numtape']:,}")
        line.append(_time(row["seconds"]["numtape"]))
        line += [_ratio(row, column[way]) for column in columns]
        lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _ratio(row: Row, rival: str) -> str:
    if rival not in row["seconds"]:
        return "–"
    ratio = row["seconds"][rival] / row["seconds"]["numtape"]
    return _number(ratio)


def _number(ratio: float) -> str:
    """With two digits: more would not come out again."""
    if ratio >= 9.95:
        return f"{float(f'{ratio:.2g}'):,.0f}"
    return f"{ratio:.1f}" if ratio >= 0.995 else f"{ratio:.2f}"


def _time(seconds: float) -> str:
    for unit, name in ((1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds * 1e9:.3g} ns"


def _how(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    fewer = {
        title: f"{title} at {row['points'][rival]:,}"
        for row in results["many_points"]
        for title, _, rival in _COLUMNS
        if row["points"].get(rival, 0) and row["points"][rival] < row["points"]["numtape"]
    }
    parts = [
        "How measured: in one process and on one thread; everything is recorded and compiled "
        "before, derivatives agree with numtape's before the clock starts, and results are "
        "awaited. Calls are interleaved in an order drawn anew for each round, and each one's "
        "best time counts. Below 1 is quicker than numtape; – is what a library cannot take, or "
        "not in reasonable time.",
        f"C++ by hand is an adjoint compiled with `{results['flags']}`, called by ctypes.",
    ]
    if fewer:
        parts.append(f"Of the many points, {', '.join(fewer.values())} only.")
    parts.append(f"{results['date']}, {results['machine']}; {versions}.")
    parts.append(
        "`python asv_benchmarks/side_by_side.py --readme` measures and writes all of this anew."
    )
    return " ".join(parts)


def update(results: Results, readme: Path = README) -> None:
    """Write the README's table."""
    text = readme.read_text(encoding="utf-8")
    if START not in text or END not in text:
        raise SystemExit(f"{readme} has no line {START} and {END}: put them where the table goes")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    text = f"{before}{START}\n{section(results)}\n{END}{after}"
    readme.write_text(text, encoding="utf-8")


# the plot


def draw(results: Results, path: Path = PLOT) -> None:
    """Bars of ratios, a small panel for each problem, as SVG."""
    # Here, so that the table can be checked where there is no matplotlib.
    matplotlib = importlib.import_module("matplotlib")
    figures = importlib.import_module("matplotlib.figure")

    panels = list(_panels(results))
    titles = [column[0] for column in _COLUMNS]
    shown = [title for title in titles if any(title in ratios for _, ratios in panels)]
    most = max(max(ratios.values()) for _, ratios in panels)
    least = min(min(ratios.values()) for _, ratios in panels)
    columns = 5
    rows = -(-len(panels) // columns)
    fixed = {"svg.hashsalt": "numtape", "svg.fonttype": "none", "font.size": 8}
    with matplotlib.rc_context(fixed):
        figure = figures.Figure(
            figsize=(11, 0.75 + rows * (0.55 + 0.17 * len(shown))), layout="constrained"
        )
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for place, axis in enumerate(axes.flat):
            if place >= len(panels):
                axis.set_axis_off()
                continue
            _panel(axis, *panels[place], shown)
        axes[0, 0].set_xlim(min(0.3, least / 2.0), most * 8.0)
        figure.suptitle(
            "Time over numtape's, logarithmic: left of the line is quicker than numtape", fontsize=9
        )
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _panels(results: Results) -> Iterator[tuple[str, dict[str, float]]]:
    """Titles, and ratios by column."""
    for way, (key, suffix) in enumerate((("one_point", ""), ("many_points", ", many points")), 1):
        rows: list[Row] = results[key]  # type: ignore[literal-required]
        for row in rows:
            seconds = row["seconds"]
            ratios = {
                column[0]: seconds[column[way]] / seconds["numtape"]
                for column in _COLUMNS
                if column[way] in seconds
            }
            yield _TITLES[row["problem"]] + suffix, ratios


def _panel(axis: Any, title: str, ratios: dict[str, float], shown: list[str]) -> None:
    axis.set_title(title, fontsize=8)
    axis.set_xscale("log")
    for place, name in enumerate(shown):
        ratio = ratios.get(name)
        if ratio is None:
            axis.text(1.15, place, "–", va="center", color="0.6")
            continue
        axis.barh(place, ratio - 1.0, left=1.0, height=0.7, color=_colour(name, ratio))
        axis.text(max(ratio, 1.0) * 1.15, place, _number(ratio), va="center", fontsize=7)
    axis.set_yticks(range(len(shown)), shown)
    axis.set_ylim(len(shown) - 0.5, -0.5)  # the first on top
    axis.axvline(1.0, color="0.2", linewidth=0.8)
    axis.set_xticks([1, 10, 100, 1000, 10_000], ["1", "10", "10²", "10³", "10⁴"])
    axis.tick_params(length=0)
    axis.minorticks_off()
    for side in ("top", "right", "left", "bottom"):
        axis.spines[side].set_visible(False)


def _colour(name: str, ratio: float) -> str:
    if name == "numtape native":
        return "#2a7f62"
    return "#8fb4d9" if ratio >= 1.0 else "#e0a458"
