"""The command line: ``python -m numtape demo | show | check | cache``.

What the commands compute lives elsewhere; here is only the reading of the
command line and the printing. `literals.py` reads the arguments.
"""

import argparse
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import numtape as nt
from numtape.errors import InputError, NumtapeError
from numtape.literals import read_literal
from numtape.testing import DerivativeCheck
from numtape.trace.locations import is_users

__all__ = ["main"]

_ENTRIES = 8  # of a Jacobian that `check` prints
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, or 1 where it failed."""
    given = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    if not given:
        parser.print_help(sys.stderr)
        parser.exit(2)
    options = parser.parse_args(_as_values(given))
    if "at" in options and options.function is None:
        _find_function(parser, options)
    try:
        # What NumPy would warn of is in what is printed, and the line it names would be ours.
        with np.errstate(all="ignore"):
            status: int = options.run(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    except NumtapeError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        text = _users_traceback(error)
        if text is None:  # a mistake of ours
            raise
        print(text, end="", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="numtape",
        description="Exact derivatives of ordinary numeric Python.",
        epilog="numtape COMMAND --help says more of a command, with an example.",
    )
    parser.add_argument("--version", action="version", version=f"numtape {version('numtape')}")
    commands = parser.add_subparsers(required=True, metavar="command")
    synopsis = "fit the 27 NIST StRD nonlinear regression sets"
    demo = commands.add_parser("demo", help=synopsis, description=synopsis)
    demo.set_defaults(run=_demo)
    for name, run, synopsis in (
        ("show", _show, "print a function's tape, value and derivative at a point"),
        ("check", _check, "compare a function's derivatives with finite differences"),
    ):
        command = commands.add_parser(
            name,
            help=synopsis,
            description=synopsis,
            epilog=f'example: numtape {name} model.py:energy --at "[2.0, 5.0]" 0.1',
        )
        # Not required here: what follows --at may have taken it, see `_find_function`.
        place = "module:function or path/file.py:function"
        command.add_argument("function", nargs="?", help=place)
        command.add_argument(
            "--at",
            required=True,
            action="extend",
            nargs="+",
            metavar="VALUE",
            help='the arguments, each as Python writes it: 2.0, "[2.0, inf]", "np.ones(3)"; '
            "floats are differentiated by, ints are not",
        )
        command.set_defaults(run=run, parser=command)
    synopsis = "say where machine code is kept, and how much"
    cache = commands.add_parser("cache", help=synopsis, description=synopsis)
    cache.add_argument("--clear", action="store_true", help="delete it all")
    cache.set_defaults(run=_cache)
    return parser


def _as_values(given: Sequence[str]) -> list[str]:
    """The command line, so that values with a minus are not taken for options."""
    return [
        f" {text}" if re.match(r"-+[\d.(]|-(inf|nan|pi|np\.)", text) else text for text in given
    ]


def _find_function(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Take the function from behind the arguments, where it may stand too."""
    if len(options.at) < 2 or not re.fullmatch(r"[^\[\](){}'\"]+:\w+", options.at[-1]):
        options.parser.error("the following arguments are required: function")
    options.function = options.at.pop()


def _demo(options: argparse.Namespace) -> int:
    from numtape.nist.demo import run

    return run()


def _show(options: argparse.Namespace) -> int:
    function, arguments = _function(options.function), _arguments(options.at)
    tape = _called(options, nt.record, function, *arguments, lines=True)
    argnums = tuple(k for k, argument in enumerate(arguments) if _has_floats(argument))
    which = argnums[0] if len(argnums) == 1 else argnums
    name = "gradient" if tape.result.shapes == ((),) else "jacobian"
    derive = tape.value_and_gradient if name == "gradient" else tape.value_and_jacobian
    value, derivative = derive(*arguments, argnums=which)
    print(tape.text(values=True, lines=True, whole=True))
    print()
    print(tape.summary())
    print()
    print(f"value    = {value!r}")
    print(f"{name} = {derivative!r}")
    return 0


def _check(options: argparse.Namespace) -> int:
    function, arguments = _function(options.function), _arguments(options.at)
    found: DerivativeCheck = _called(options, nt.check_derivatives, function, *arguments)
    jacobian, differences = found.jacobian, found.differences
    outputs, inputs = jacobian.shape
    print(f"{options.function}: the derivatives of {outputs} outputs by {inputs} inputs")
    with np.errstate(all="ignore"):
        scale = np.maximum(np.abs(jacobian), np.abs(differences)).max(axis=1, keepdims=True)
        apart = np.abs(jacobian - differences) / np.where(scale == 0.0, 1.0, scale)
    apart[(jacobian == differences) | (np.isnan(jacobian) & np.isnan(differences))] = 0.0
    worst = np.argsort(-apart, axis=None, kind="stable")[:_ENTRIES]
    for row, column in sorted(zip(*np.unravel_index(worst, apart.shape), strict=True)):
        print(
            f"  output {row} by input {column}: {float(jacobian[row, column])!r} forward, "
            f"{float(differences[row, column])!r} by differences"
        )
    if apart.size > _ENTRIES:
        print(f"  and {apart.size - _ENTRIES} more, which are closer to each other")
    largest = float(apart.max(initial=0.0))
    beyond = "within the rounding of the function's values"
    if found.error:
        beyond = f"{found.error:.1e} beyond the rounding of the function's values"
    print(f"forward against central differences: {largest:.1e} of the row's largest, {beyond}")
    modes = f"{found.modes:.1e} of the row's largest" if found.modes else "equal to the last bit"
    print(f"forward against reverse:             {modes}")
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
        if isinstance(error, NumtapeError) or _users_traceback(error) is not None:
            raise
        raise InputError(
            f"{options.function} called with --at {' '.join(options.at)} raised "
            f"{type(error).__name__}: {error}. Give a value for each argument, of its kind",
            code="command-line",
        ) from error


def _users_traceback(error: Exception) -> str | None:
    """An error's traceback with the user's own lines alone; None where there are none of them."""
    frames = []
    for frame, line in traceback.walk_tb(error.__traceback__):
        if is_users(frame):
            frames.append((frame, line))
    if not frames and not isinstance(error, SyntaxError):
        return None
    lines = ["Traceback (most recent call last):\n"] if frames else []
    lines += traceback.StackSummary.extract(frames).format()
    return "".join([*lines, *traceback.format_exception_only(error)])


def _function(text: str) -> Callable[..., Any]:
    """The function at ``module:function`` or ``path/file.py:function``."""
    place, _, name = text.rpartition(":")
    if not place or not name:
        raise InputError(
            f"{text!r} names no function: write module:function, or path/file.py:function",
            code="command-line",
        )
    is_file = place.endswith(".py") or "/" in place or "\\" in place
    module = _module_of_file(Path(place), text) if is_file else _module(place, text)
    function: Any = module
    for part in name.split("."):
        function = getattr(function, part, None)
    if not callable(function):
        raise InputError(
            f"{text!r}: the module {place!r} has no function {name!r}. Check the spelling; it must "
            "be defined at the top level",
            code="command-line",
        )
    result: Callable[..., Any] = function
    return result


def _module(place: str, text: str) -> ModuleType:
    sys.path.insert(0, "")
    missing: str | None = place
    if not place.startswith("."):
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            missing = error.name
            if missing is None or not f"{place}.".startswith(f"{missing}."):
                raise  # the module is there, and imports one that is not
    raise InputError(
        f"{text!r}: there is no module {missing!r} to import. Check the spelling, run the command "
        "from the folder that holds it, or write path/file.py:function",
        code="command-line",
    )


def _module_of_file(path: Path, text: str) -> ModuleType:
    if not path.is_file():
        what = f"{path} is a folder" if path.is_dir() else f"there is no file {path}"
        raise InputError(
            f"{text!r}: {what}. Check the path, which is meant from {Path.cwd()}, and write "
            "path/file.py:function",
            code="command-line",
        )
    path = path.resolve()
    sys.path.insert(0, str(path.parent))  # for what it imports
    name = path.stem if path.stem not in sys.modules else f"{path.stem} (file)"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(
            f"{text!r}: the file {path} holds no Python. Write path/file.py:function",
            code="command-line",
        )
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _arguments(texts: Sequence[str]) -> list[Any]:
    arguments = [_argument(text.strip()) for text in texts]
    if not any(map(_has_floats, arguments)):
        raise InputError(
            f"--at {' '.join(texts)} holds no float to differentiate by: write 3.0 for 3, or "
            'a list of numbers, for example --at "[2.0, 5.0]"',
            code="command-line",
        )
    return arguments


def _argument(text: str) -> Any:
    """What a text says; lists of numbers become float arrays."""
    value = read_literal(text)
    if isinstance(value, list):
        try:
            return np.array(value, np.float64)
        except (ValueError, TypeError):
            return value
    return value


def _has_floats(argument: Any) -> bool:
    if isinstance(argument, dict):
        return any(map(_has_floats, argument.values()))
    if isinstance(argument, tuple | list):
        return any(map(_has_floats, argument))
    return bool(getattr(argument, "dtype", np.dtype(type(argument))).kind == "f")
