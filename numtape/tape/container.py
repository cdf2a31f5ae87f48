"""The file of a tape: an uncompressed archive of arrays that `numpy.load` can read too.

A file is a ZIP archive of ``.npy`` files, as `numpy.savez` writes one: the arrays of
`columns.py`, and ``header``, the bytes of a JSON object. Nothing in it is ever run, and
what is read is no more than what is there: sizes are compared with the bytes that follow
them before anything is made of them.

This module knows bytes; what the arrays mean is in `columns.py`.
"""

import io
import json
import math
import os
import re
import secrets
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import TapeError
from numtape.tape.columns import MEMBERS

__all__ = ["FORMAT", "VERSION", "pack", "read", "unpack", "write"]

FORMAT = "numtape tape"
VERSION = 1

_HEADER = "header"
_TYPES = MEMBERS | {_HEADER: ("|u1", 0)}
_BODY = re.compile(r"body\d{1,9}\.")  # what the names of arrays of a loop's body begin with

# The one form of header of an array that numpy.save writes for what is saved here.
_ARRAY_HEADER = re.compile(
    rb"\{'descr': '([<|][iuf][1248])', 'fortran_order': False, "
    rb"'shape': \((\d{1,18}),(?: (\d{1,18}))?\), \} *\n"
)


def write(
    path: str | os.PathLike[str], header: Mapping[str, Any], arrays: Mapping[str, Any]
) -> None:
    """Write a file, all or nothing: where this fails, what was there before is still there."""
    target = Path(path).resolve()  # of a link, what it points to
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            pack(file, header, arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """See to it that the new name is on the disk too, where a system can be asked to."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def pack(file: Any, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write an archive; equal tapes give equal bytes."""
    text = json.dumps({"format": FORMAT, "version": VERSION, **header}, separators=(",", ":"))
    every = {_HEADER: np.frombuffer(text.encode(), np.uint8), **arrays}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in every.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return the header and the arrays of a file, which are not yet known to make sense.

    Raises
    ------
    OSError
        Where the file cannot be read.
    TapeError
        Where it is no tape, is damaged, or is of another version.
    """
    # Read whole, and not mapped: nobody can change it after it was checked.
    return unpack(Path(path).read_bytes(), os.fspath(path))


def unpack(data: bytes, name: str) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return the same of a file's bytes; the name is for errors."""
    if not data.startswith(b"PK\x03\x04"):
        raise TapeError(
            f"{name!r} is no tape: a tape begins with the four bytes 50 4b 03 04, and this with "
            f"{data[:4].hex(' ') or 'nothing'}. Give the path of a file that Tape.save has written"
        )
    members: dict[str, memoryview] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                member = entry.filename.removesuffix(".npy")
                if member in members or not entry.filename.endswith(".npy"):
                    raise _damaged(name, f"has the member {entry.filename!r} twice or by mistake")
                members[member] = _member(data, entry, name)
    except (
        zipfile.BadZipFile,
        ValueError,
        NotImplementedError,
        OverflowError,
        EOFError,
        struct.error,
    ) as error:
        if isinstance(error, TapeError):
            raise
        raise _damaged(name, f"is no whole archive ({error})") from None
    header = _read_header(members.get(_HEADER), name)
    unknown = sorted(each for each in members if _BODY.sub("", each, count=1) not in _TYPES)
    if unknown:
        raise _damaged(name, f"has the unknown member {unknown[0]!r}")
    del members[_HEADER]
    return header, {each: _array(each, body, name) for each, body in members.items()}


def _damaged(name: str, what: str) -> TapeError:
    return TapeError(
        f"{name!r} {what}: it was damaged or cut off, or is not from Tape.save. Save the tape again"
    )


def _member(data: bytes, entry: zipfile.ZipInfo, name: str) -> memoryview:
    """Return the bytes of a member, which must lie in the file as they are."""
    encrypted = entry.flag_bits & 1
    if entry.compress_type != zipfile.ZIP_STORED or encrypted:
        raise TapeError(
            f"{name!r} has the member {entry.filename!r} compressed or encrypted: a tape's are "
            "stored as they are, so that its size bounds the memory it takes. Write it again by "
            "Tape.save"
        )
    start = entry.header_offset
    if not 0 <= start <= len(data) - 30 or data[start : start + 4] != b"PK\x03\x04":
        raise _damaged(name, f"has no {entry.filename!r} where its directory says")
    lengths = struct.unpack_from("<HH", data, start + 26)
    start += 30 + sum(lengths)
    stop = start + entry.file_size
    if entry.file_size != entry.compress_size or stop > len(data):
        raise _damaged(name, f"ends before its member {entry.filename!r} does")
    body = memoryview(data)[start:stop]
    if zlib.crc32(body) != entry.CRC:
        raise _damaged(name, f"has other bytes in {entry.filename!r} than were written")
    return body


def _read_header(body: memoryview | None, name: str) -> dict[str, Any]:
    if body is None:
        raise TapeError(
            f"{name!r} is no tape: it is an archive without a header. Give the path of a file that "
            "Tape.save has written"
        )
    try:
        header = json.loads(_array(_HEADER, body, name).tobytes())
    except (ValueError, RecursionError) as error:
        if isinstance(error, TapeError):
            raise
        raise _damaged(name, f"has a header that is no JSON ({error})") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise TapeError(
            f"{name!r} is no tape: its header does not say that its format is {FORMAT!r}. Give the "
            "path of a file that Tape.save has written"
        )
    version = header.get("version")
    if type(version) is not int or version < 1:
        raise _damaged(name, f"is of the version {version!r}, which never was")
    if version > VERSION:
        raise TapeError(
            f"{name!r} is of version {version} of the format, and this numtape reads versions up "
            f"to {VERSION}: install a newer numtape, or save the tape by this one"
        )
    return header


def _array(member: str, body: memoryview, name: str) -> npt.NDArray[Any]:
    """Return the array in the bytes of a ``.npy`` file, which it shares."""
    kind, width = _TYPES[_BODY.sub("", member, count=1)]
    length = int.from_bytes(body[8:10], "little")
    start = 10 + length
    found = _ARRAY_HEADER.fullmatch(body[10:start]) if length <= 1000 else None
    if bytes(body[:8]) != b"\x93NUMPY\x01\x00" or found is None:
        raise _damaged(name, f"has no array of rank 1 or 2 as {member!r}")
    shape = tuple(int(extent) for extent in found.groups()[1:] if extent is not None)
    if (
        found[1].decode() != kind
        or len(shape) != (2 if width else 1)
        or shape[1:] not in ((), (width,))
    ):
        raise _damaged(name, f"has {member!r} of type {found[1].decode()} and shape {shape}")
    if math.prod(shape) * np.dtype(kind).itemsize != len(body) - start:
        raise _damaged(name, f"has {len(body) - start} bytes for {member!r} of shape {shape}")
    return np.frombuffer(body, kind, offset=start).reshape(shape)
