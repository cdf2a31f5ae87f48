"""Machine code from the text of modules: made by LLVM, kept on disk, freed with its owner.

Code is kept in a folder of the user's cache (``NUMTAPE_CACHE_DIR`` says where, and is
empty for nowhere), a file for each tape and use of it, named by a digest of all that
decides the code: the tape, the operations' table, the processor, the versions. Files are
written whole and renamed, so processes may share the folder; the oldest go when it
has grown beyond `LIMIT`. Nothing here knows what the code does.
"""

import contextlib
import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numpy as np
from llvmlite import binding

from numtape.ops.structured import FUNCTIONS
from numtape.ops.table import ROWS
from numtape.run import emitter
from numtape.run.native import Code

__all__ = [
    "LIMIT",
    "MachineCode",
    "cache_files",
    "cache_folder",
    "clear_cache",
    "digest",
    "machine_code",
]

LIMIT = 256 << 20  # bytes that the folder may grow to

_MAGIC = b"numtape code 1\n"
_SUFFIX = ".code"
_CHECK = 32  # bytes of a file's own digest


class MachineCode:
    """Functions in memory; it is freed with this.

    Attributes
    ----------
    functions : dict
        Where they are, by the segment they are for.
    """

    def __init__(self, names: dict[int, str], objects: Sequence[bytes]) -> None:
        target = emitter.target_machine(1)
        self._engine = binding.create_mcjit_compiler(binding.parse_assembly(""), target)
        for each in objects:
            self._engine.add_object_file(binding.ObjectFileRef.from_data(each))
        self._engine.finalize_object()
        self.functions = {
            segment: int(self._engine.get_function_address(name)) for segment, name in names.items()
        }


def machine_code(
    key: str, write: Callable[[], Code], effort: int, may_go_on: Callable[[], bool]
) -> MachineCode | None:
    """Return the code kept under a key, or else make and keep what is written now.

    Parameters
    ----------
    key : str
        A `digest`.
    write : callable
        Gives the text; not called where the code is kept.
    effort : int
        How hard LLVM tries, from 0 to 3.
    may_go_on : callable
        Asked before each module; where it says no the result is None.
    """
    file = _file_of(key, effort)
    found = _read(file)
    if found is None:
        code, target, objects = write(), emitter.target_machine(effort), []
        for text in code.modules:
            if not may_go_on():
                return None
            objects.append(target.emit_object(binding.parse_assembly(text)))
        found = code.functions, objects
        _write(file, *found)
    return MachineCode(*found)


@cache
def _surroundings() -> bytes:
    """Return what decides about code besides the tape: operations, processor, versions."""
    features = binding.get_host_cpu_features().flatten()
    versions = llvmlite.__version__, binding.llvm_version_info, np.__version__
    library = emitter.vector_library() is not None, emitter.vector_form()
    told = binding.get_host_cpu_name(), features, versions, library
    sources = [
        Path(__file__).with_name(f"{name}.py")
        for name in (
            "native",
            "native_loops",
            "loop_code",
            "writers",
            "emitter",
            "fusion",
            "nests",
            "products",
            "sums",
        )
    ]
    parts = [repr((ROWS, FUNCTIONS, told)).encode()]
    parts += [source.read_bytes() for source in sources]
    return hashlib.sha256(b"\0".join(parts)).digest()


def digest(*parts: Any) -> str:
    """Name code by the bytes, arrays and texts that decide it."""
    found = hashlib.sha256(_surroundings())
    for part in parts:
        data = part if isinstance(part, bytes) else np.asarray(part).tobytes()
        found.update(struct.pack("<q", len(data)))
        found.update(data)
    return found.hexdigest()


# The folder.


def cache_folder() -> Path | None:
    """Return where code is kept; None for nowhere."""
    chosen = os.environ.get("NUMTAPE_CACHE_DIR")
    if chosen is not None:
        return Path(chosen) if chosen else None
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "numtape"


def clear_cache() -> int:
    """Delete all code that is kept; return how many files there were."""
    count = 0
    for file in cache_files():
        with contextlib.suppress(OSError):
            file.unlink()
            count += 1
    return count


def cache_files() -> list[Path]:
    """Return the files of code that are kept."""
    folder = cache_folder()
    return [] if folder is None or not folder.is_dir() else sorted(folder.glob(f"*{_SUFFIX}"))


def _file_of(key: str, effort: int) -> Path | None:
    try:
        folder = cache_folder()
    except RuntimeError:  # there is no home
        return None
    return None if folder is None else folder / f"{key}-{effort}{_SUFFIX}"


def _read(file: Path | None) -> tuple[dict[int, str], list[bytes]] | None:
    """Return the functions' names and the objects in a file; None without a whole one."""
    try:
        data = b"" if file is None else file.read_bytes()
    except OSError:
        return None
    content, check = data[len(_MAGIC) : -_CHECK], data[-_CHECK:]
    if data[: len(_MAGIC)] != _MAGIC or hashlib.sha256(content).digest() != check:
        return None
    with contextlib.suppress(OSError):
        os.utime(file)  # type: ignore[arg-type]
    objects, at = [], 0
    while at < len(content):
        (size,) = struct.unpack_from("<q", content, at)
        objects.append(content[at + 8 : at + 8 + size])
        at += 8 + size
    names = json.loads(objects[0])
    return {int(segment): name for segment, name in names.items()}, objects[1:]


def _write(file: Path | None, names: dict[int, str], objects: Sequence[bytes]) -> None:
    """Keep code in a file; where that is impossible, nothing is kept."""
    if file is None:
        return
    parts = [json.dumps(names).encode(), *objects]
    content = b"".join(struct.pack("<q", len(part)) + part for part in parts)
    with contextlib.suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=file.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(_MAGIC + content + hashlib.sha256(content).digest())
            os.replace(name, file)
        except BaseException:
            os.unlink(name)
            raise
        _make_room()


def _make_room() -> None:
    """Delete what was used longest ago, if there is too much: down to three quarters."""
    found = []
    for file in cache_files():
        with contextlib.suppress(OSError):
            status = file.stat()
            found.append((status.st_mtime, status.st_size, file))
    total = sum(size for _, size, _ in found)
    if total <= LIMIT:
        return
    for _, size, file in sorted(found):
        if total <= LIMIT * 3 // 4:
            break
        with contextlib.suppress(OSError):
            file.unlink()
            total -= size
