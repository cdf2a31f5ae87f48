"""The command line: ``python -m numtape demo | show | check | cache``.

What the commands compute lives elsewhere; here is only the reading of the
command line and the printing.
"""

import argparse
import ast
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import numtape as nt
from numtape.errors import InputError, NumtapeError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, or 1 where it failed."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except NumtapeError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="numtape", description="Exact derivatives of ordinary numeric Python."
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    demo = commands.add_parser("demo", help="fit the 27 NIST StRD nonlinear regression sets")
    demo.set_defaults(run=_demo)
    for name, run, synopsis in (
        ("show", _show, "print a function's tape, value and derivative at a point"),
        ("check", _check, "compare a function's derivatives with finite differences"),
    ):
        command = commands.add_parser(name, help=synopsis, description=synopsis)
        command.add_argument("function", help="module:function or path/file.py:function")
        command.add_argument(
            "--at",
            required=True,
            action="append",
            metavar="VALUE",
            help='an argument, as a Python literal: "[2.0, 5.0]"; repeat for each argument',
        )
        command.set_defaults(run=run)
    synopsis = "say where machine code is kept, and how much"
    cache = commands.add_parser("cache", help=synopsis, description=synopsis)
    cache.add_argument("--clear", action="store_true", help="delete it all")
    cache.set_defaults(run=_cache)
    return parser


def _demo(options: argparse.Namespace) -> int:
    from numtape.nist.demo import run

    return run()


def _show(options: argparse.Namespace) -> int:
    function, arguments = _function(options.function), _arguments(options.at)
    tape = _called(options, nt.record, function, *arguments, lines=True)
    print(tape.text(values=True, lines=True))
    print()
    print(tape.summary())
    print()
    argnums = tuple(k for k, argument in enumerate(arguments) if _has_floats(argument))
    which = argnums[0] if len(argnums) == 1 else argnums
    name = "gradient" if tape.result.shapes == ((),) else "jacobian"
    derive = tape.value_and_gradient if name == "gradient" else tape.value_and_jacobian
    value, derivative = derive(*arguments, argnums=which)
    print(f"value    = {value!r}")
    print(f"{name} = {derivative!r}")
    return 0


def _check(options: argparse.Namespace) -> int:
    function, arguments = _function(options.function), _arguments(options.at)
    found = _called(options, nt.check_derivatives, function, *arguments)
    print(f"forward against central differences: {found.error:.2e} (relative)")
    print(f"forward against reverse:             {found.modes:.2e} (relative)")
    print("the derivatives agree")
    return 0


def _cache(options: argparse.Namespace) -> int:
    from numtape.run.machine_code import cache_files, cache_folder, clear_cache

    folder = cache_folder()
    if folder is None:
        print("no machine code is kept: NUMTAPE_CACHE_DIR is empty")
    elif options.clear:
        print(f"{clear_cache()} files of machine code deleted from {folder}")
    else:
        sizes = [file.stat().st_size for file in cache_files()]
        print(f"{len(sizes)} files of machine code, {sum(sizes) / 1e6:.1f} MB, in {folder}")
    return 0


def _called(options: argparse.Namespace, run: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Run something that calls the user's function; a call that does not fit is wrong input."""
    try:
        return run(*given, **named)
    except (TypeError, ValueError) as error:
        if isinstance(error, NumtapeError):
            raise
        raise InputError(
            f"{options.function} called with --at {' --at '.join(options.at)} raised "
            f"{type(error).__name__}: {error}. Give one --at for each argument, of its kind",
            code="command-line",
        ) from error


def _function(text: str) -> Callable[..., Any]:
    """The function at ``module:function`` or ``path/file.py:function``."""
    place, _, name = text.rpartition(":")
    if not place or not name:
        raise InputError(
            f"{text!r} names no function: write module:function, or path/file.py:function",
            code="command-line",
        )
    if place.endswith(".py"):
        path = Path(place).resolve()
        sys.path.insert(0, str(path.parent))
        place = path.stem
    else:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(place)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{text!r}: there is no module {error.name!r} to import. Check the spelling, or run "
            "the command from the folder that holds it",
            code="command-line",
        ) from None
    function = getattr(module, name, None)
    if not callable(function):
        raise InputError(
            f"{text!r}: the module {place!r} has no function {name!r}. Check the spelling; it must "
            "be defined at the top level",
            code="command-line",
        )
    result: Callable[..., Any] = function
    return result


def _arguments(texts: Sequence[str]) -> list[Any]:
    arguments = [_argument(text) for text in texts]
    if not any(map(_has_floats, arguments)):
        raise InputError(
            f"--at {' --at '.join(texts)} holds no float to differentiate by: write 3.0 for 3, or "
            'a list of numbers, for example --at "[2.0, 5.0]"',
            code="command-line",
        )
    return arguments


def _argument(text: str) -> Any:
    """A Python literal; lists of numbers become float arrays."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise InputError(
            f"--at {text!r} is no Python literal: write a number or a list, for example "
            '--at 2.0 or --at "[2.0, 5.0]"',
            code="command-line",
        ) from None
    if isinstance(value, list):
        try:
            return np.array(value, np.float64)
        except (ValueError, TypeError):
            return value
    return value


def _has_floats(argument: Any) -> bool:
    return isinstance(argument, float | np.ndarray) or (
        isinstance(argument, dict | tuple | list)
        and any(map(_has_floats, argument.values() if isinstance(argument, dict) else argument))
    )
