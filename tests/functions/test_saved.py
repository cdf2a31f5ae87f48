"""Tapes in files and copies: what is kept, what is refused, and that old files survive."""

import copy
import errno
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from checks import assert_same_bits

import numtape as nt
from numtape.functions.recording import record_call_inside
from numtape.functions.signature import read_call
from numtape.ops.table import ROWS
from numtape.tape import container
from numtape.tape.columns import MEMBERS
from numtape.trace.ufuncs import apply_row


class Pair(NamedTuple):
    a: float
    b: np.ndarray


@dataclass
class Model:
    scale: float
    name: str


X = np.linspace(0.5, 2.0, 12)


def everything(x):
    """Every kind of instruction, and a branch."""
    matrix = np.outer(x, x) + 3.0 * np.eye(12)
    if x[0] > 0.0:
        x = x + np.sort(x)[::-1]
    sums = 0.0 * x[:3]
    np.add.at(sums, np.arange(12) % 3, x)
    return {
        "map": np.exp(x)[::2],
        "gathered": np.sin(x[np.array([3, 1, 4, 1, 5, 9, 2, 6, 5])]),
        "reduce": np.max(matrix, axis=0),
        "accumulate": np.cumsum(x),
        "product": matrix @ matrix,
        "scatter": sums,
        "spread": np.bincount(np.arange(12) % 3, x),
        "search": np.searchsorted(np.arange(5.0), x) * 1.0,
        "take": x[np.argsort(x)],
        "function": np.linalg.solve(matrix, x),
        "scalars": [x[0] * x[1], np.tanh(x[2])],
    }


@pytest.fixture(name="path")
def _path(tmp_path):
    return tmp_path / "some.tape"


def saved(tape, path, **options):
    tape.save(path)
    return nt.load(path, **options)


def assert_same(tape, other):
    """That two tapes are the same throughout."""
    assert str(other) == str(tape)
    assert other.signature == tape.signature
    assert other.result == tape.result
    for field in ("code", "constants", "outputs", "point"):
        assert_same_bits(getattr(other.flat, field), getattr(tape.flat, field))
    assert (other.flat.guards, other.flat.lines) == (tape.flat.guards, tape.flat.lines)
    for mine, others in zip(tape.flat.vectors, other.flat.vectors, strict=True):
        assert (mine.kind, mine.opcode, mine.shape) == (others.kind, others.opcode, others.shape)
        for slots, again in zip(mine.operand_slots(), others.operand_slots(), strict=True):
            assert_same_bits(again, slots)


# What is kept.


@pytest.mark.parametrize("lines", [False, True])
def test_everything_is_kept(path, lines):
    tape = nt.record(everything, X, lines=lines)
    again = saved(tape, path)
    assert_same(tape, again)
    x = X[::-1] + 0.25
    found, expected = again(x), tape(x)
    assert found.keys() == expected.keys()
    for name in found:
        assert_same_bits(found[name], expected[name])
    with pytest.raises(nt.BranchError, match=r"test_saved\.py"):
        again(-X)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_operation_is_kept(path):
    def f(x):
        return [apply_row(row, (x[0], x[1])[: row.arity]) for row in ROWS]

    tape = nt.record(f, np.array([0.3, 0.4]))
    again = saved(tape, path)
    assert_same(tape, again)
    x = np.array([0.35, 0.45])
    assert_same_bits(np.array(again(x)), np.array(tape(x)))


def test_derivative_tapes_are_tapes(path):
    tape = nt.record(lambda x: np.sum(np.sin(x) * x[::-1]), X)
    again = saved(tape.adjoint().tangent(), path)
    assert_same_bits(again(X)[1][1], tape.hessian(X))


def test_trees_and_static_arguments(path):
    statics = (3, True, "sine", b"bytes", np.arange(4), np.array(["a", "b"]), np.int32(5), 2**70)

    def f(tree, *statics):
        return OrderedDict(z=tree["x"] * statics[0], y=(tree[2][0], [tree["x"] ** 2], None))

    argument = {"x": 2.0, 2: (np.ones((2, 3)),), (1, "a"): [], None: None, 0.5: 1.0}
    tape = nt.record(f, argument, *statics)
    again = saved(tape, path)
    assert_same(tape, again)
    assert type(again(argument, *statics)) is OrderedDict
    with pytest.raises(nt.InputError):
        again(argument, 4, *statics[1:])


def test_named_tuples_and_dataclasses_are_given(path):
    tape = nt.record(
        lambda pair, model: Pair(pair.a * model.scale, pair.b), Pair(1.0, X), Model(2.0, "m")
    )
    again = saved(tape, path, types=[Pair, Model])
    assert_same(tape, again)
    assert again(Pair(3.0, X), Model(2.0, "m")).a == 6.0
    with pytest.raises(nt.TapeError, match=r"class '(Pair|Model)'.*types=\["):
        nt.load(path)
    other = type("Other", (), {})
    other.__name__ = "Pair"
    with pytest.raises(nt.TapeError, match="of 'Pair', and the class of that name has"):
        nt.load(path, types=[other, Model])
    fewer = namedtuple("Pair", "a")
    with pytest.raises(nt.TapeError, match=r"has \('a',\)"):
        nt.load(path, types=[fewer, Model])
    with pytest.raises(nt.TapeError, match="two classes of the name 'Pair'"):
        nt.load(path, types=[fewer, Pair])
    with pytest.raises(nt.TapeError, match="no class"):
        nt.load(path, types=["Pair"])


def test_auxiliary_results(path):
    def with_aux(x):
        return np.sum(x * x), {"aux": x[0], "n": 3, "z": 1j, "table": np.arange(3.0), "not": None}

    tape, _ = record_call_inside(with_aux, read_call((X,)), has_aux=True)
    value, aux = saved(tape, path)(X)
    assert value == np.sum(X * X)
    assert_same_bits(aux.pop("table"), np.arange(3.0))
    assert aux == {"aux": 0.5, "n": 3, "z": 1j, "not": None}


def test_what_cannot_be_saved_is_said_and_no_file_is_left(path):
    tape = nt.record(lambda x, f: f(x), 1.0, np.sin)
    with pytest.raises(nt.TapeError, match=r"static argument holds .*sin.*Close over it"):
        tape.save(path)
    assert list(path.parent.iterdir()) == []
    assert pickle.loads(pickle.dumps(tape))(0.5, np.sin) == np.sin(0.5)


def test_copies(path):
    tape = nt.record(everything, X)
    for other in (copy.copy(tape), copy.deepcopy(tape), pickle.loads(pickle.dumps(tape))):
        assert other is not tape
        assert_same(tape, other)
    assert copy.copy(tape).flat is tape.flat
    assert copy.deepcopy(tape).flat is tape.flat  # nobody can change it
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert_same(tape, pickle.loads(pickle.dumps(tape, protocol)))


def test_equal_tapes_make_equal_files(path):
    tape = nt.record(everything, X)
    tape.save(path)
    first = path.read_bytes()
    nt.load(path).save(path)
    assert path.read_bytes() == first


def test_numpy_reads_the_file(path):
    tape = nt.record(everything, X, lines=True)
    tape.save(path)
    with np.load(path, allow_pickle=False) as arrays:
        header = json.loads(bytes(arrays["header"]))
        assert (header["format"], header["version"]) == ("numtape tape", 1)
        assert set(arrays) == {"header", *MEMBERS} - {"loops"}
        assert_same_bits(arrays["constants"], tape.flat.constants)
        names = [header["operations"][k] for k in arrays["code"][:, 0] if k >= 0]
        assert names == [ROWS[k].name for k in tape.flat.code[:, 0] if k >= 0]


def test_a_table_of_operations_that_grows_does_not_matter(path, monkeypatch):
    """Files name operations, and the numbers are whatever they are when it is loaded."""
    tape = nt.record(lambda x: np.sin(x) * np.exp(x), 0.5)
    tape.save(path)
    header, arrays = container.read(path)
    order = [2, 0, 1]
    header["operations"] = [header["operations"][k] for k in order]
    arrays["code"] = arrays["code"].copy()
    arrays["code"][:, 0] = np.argsort(order)[arrays["code"][:, 0]]
    del header["format"], header["version"]
    container.write(path, header, arrays)
    assert nt.load(path)(0.5) == tape(0.5)


# What is refused.


def rewritten(path, **changes):
    """The file with other entries in its header, checksums and all."""
    header, arrays = container.read(path)
    del header["format"], header["version"]
    container.write(path, header | changes, arrays)


def test_a_file_that_is_no_tape(path):
    for data, message in [
        (b"", "begins with .* nothing"),
        (b"# some text", "23 20 73 6f"),
        (b"PK\x03\x04 and then something else", "whole archive"),
    ]:
        path.write_bytes(data)
        with pytest.raises(nt.TapeError, match=message):
            nt.load(path)
    np.savez(path.with_suffix(".npz"), a=np.ones(3))
    with pytest.raises(nt.TapeError, match="an archive without a header"):
        nt.load(path.with_suffix(".npz"))
    np.savez(path.with_suffix(".npz"), header=np.frombuffer(b"{}", np.uint8))
    with pytest.raises(nt.TapeError, match="does not say that its format"):
        nt.load(path.with_suffix(".npz"))
    with pytest.raises(FileNotFoundError):
        nt.load(path.with_name("nothing"))


def test_a_file_that_is_cut_off_or_has_another_byte(path):
    nt.record(everything, X).save(path)
    data = path.read_bytes()
    for size in range(0, len(data), 211):
        path.write_bytes(data[:size])
        with pytest.raises(nt.TapeError):
            nt.load(path)
    at = data.index(b"\x93NUMPY", 1000) + 200
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(nt.TapeError, match=r"other bytes in .* than were written"):
        nt.load(path)


@pytest.mark.parametrize(("version", "message"), [(2, "install a newer"), (0, "never was")])
def test_other_versions(path, version, message):
    nt.record(np.sin, 0.5).save(path)
    rewritten(path, version=version)
    with pytest.raises(nt.TapeError, match=message):
        nt.load(path)


def test_unknown_names(path):
    tape = nt.record(lambda x: np.sum(np.exp(x)) * np.tan(x[0]), X)
    for name, entry, message in [
        ("operations", ["tan", "unheard_of"], "operation 'unheard_of'"),
        ("vector_operations", [["map", "exp"], ["fold", "add"]], "instruction 'fold'"),
        ("vector_operations", [["map", "unheard_of"], ["reduce", "add"]], "map 'unheard_of'"),
    ]:
        tape.save(path)
        rewritten(path, **{name: entry})
        with pytest.raises(nt.TapeError, match=f"{message}.*install the version"):
            nt.load(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": 2},
        {"inputs": None},
        {"inputs": True},
        {"operations": []},
        {"operations": [1]},
        {"vector_operations": "map"},
        {"vector_operations": [["map"]]},
        {"vector_operations": [[["map"], "exp"]] * 2},
        {"files": []},
        {"arguments": None},
        {"arguments": {"tree": "*", "shapes": [[]], "statics": []}},
        {"arguments": {"tree": ["list", [], ["*"]], "shapes": [[-12]], "statics": []}},
        {"arguments": {"tree": ["list", [], ["*"]], "shapes": [[12], [1]], "statics": []}},
        {"arguments": {"tree": ["list", [], ["*"]], "shapes": [[11]], "statics": []}},
        {"arguments": {"tree": ["list", [], ["*"]], "shapes": [None], "statics": []}},
        {"arguments": {"tree": ["list", [], ["*", "*"]], "shapes": [[12], None], "statics": [{}]}},
        {"result": {"tree": ["dict", ["a"], []], "shapes": []}},
        {"result": {"tree": ["dict", ["a", "a"], ["*", "*"]], "shapes": [[], []]}},
        {"result": {"tree": ["NoneType", [], ["*"]], "shapes": [[]]}},
        {"result": {"tree": "*", "shapes": [None]}},
        {"result": {"tree": "*", "shapes": [[2]]}},
        {"result": {"tree": "*", "shapes": [[1] * 65]}},
        {"aux": {"tree": "*", "shapes": [], "leaves": ["traced"]}},
        {"aux": {"tree": "*", "shapes": [], "leaves": [{"array": ["|O", [], ""]}]}},
        {"aux": {"tree": "*", "shapes": [], "leaves": [[{"array": ["|O", [1], "AAAAAAAAAAA="]}]]}},
        {"aux": {"tree": "*", "shapes": [], "leaves": [[{"array": ["<i8", [9], "AAAA"]}]]}},
        {"aux": {"tree": "*", "shapes": [], "leaves": [[{"float": "x"}]]}},
    ],
)
def test_headers_that_make_no_sense(path, changes):
    nt.record(lambda x: np.sum(np.exp(x)) * np.tan(x[0]) if x[0] > 0 else x[0], X).save(path)
    rewritten(path, **changes)
    with pytest.raises(nt.TapeError):
        nt.load(path)


@pytest.mark.parametrize("depth", [900, 100_000])
def test_trees_without_end(path, depth):
    """What is nested more deeply than Python can go is refused, by JSON or when it is built."""
    nt.record(np.sin, 0.5).save(path)
    with np.load(path) as members:
        arrays = dict(members)
    text = bytes(arrays["header"]).replace(
        b'"result":{"tree":"*"',
        b'"result":{"tree":' + b'["list",[],[' * depth + b'"*"' + b"]]" * depth,
    )
    _archive(path, arrays | {"header": np.frombuffer(text, np.uint8)})
    with pytest.raises(nt.TapeError, match=r"JSON|nested too deeply"):
        nt.load(path)


def _archive(path, arrays, compression=zipfile.ZIP_STORED, again=()):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in [*arrays.items(), *again]:
            file = io.BytesIO()
            np.save(file, array)
            archive.writestr(f"{name}.npy", file.getvalue())


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_of_another_form(path):
    """A file cannot ask for more memory than it is long."""
    nt.record(everything, X).save(path)
    with np.load(path) as members:
        arrays = dict(members)
    _archive(path, arrays)
    nt.load(path)
    _archive(path, arrays, zipfile.ZIP_DEFLATED)
    with pytest.raises(nt.TapeError, match="compressed or encrypted"):
        nt.load(path)
    _archive(path, arrays, again=[("code", arrays["code"])])
    with pytest.raises(nt.TapeError, match="twice"):
        nt.load(path)
    _archive(path, arrays | {"more": np.ones(3)})
    with pytest.raises(nt.TapeError, match="unknown member 'more'"):
        nt.load(path)
    for other in [
        np.asfortranarray(arrays["code"]),
        arrays["code"].astype(np.int64),
        arrays["code"].astype(">i4"),
        arrays["code"][:, :2].copy(),
        arrays["code"].ravel(),
        arrays["code"][None],
        np.zeros(()),
    ]:
        _archive(path, arrays | {"code": other})
        with pytest.raises(nt.TapeError, match="'code'"):
            nt.load(path)


def test_an_array_says_that_it_is_longer_than_the_file(path):
    nt.record(everything, X).save(path)
    with np.load(path) as members:
        arrays = dict(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            file = io.BytesIO()
            np.save(file, array)
            data = file.getvalue()
            if name == "constants":
                shape = f"({len(array)},), }}".encode()
                longer = b"(99999999999999999,), }"
                start = data.index(shape)
                rest = data[start + len(shape) :].removeprefix(b" " * (len(longer) - len(shape)))
                data = data[:start] + longer + rest
            archive.writestr(f"{name}.npy", data)
    with pytest.raises(nt.TapeError, match="bytes for 'constants' of shape"):
        nt.load(path)


def test_more_memory_than_allowed(path):
    nt.record(everything, X).save(path)
    with pytest.raises(nt.TapeError, match="at most 1000 are allowed"):
        nt.load(path, memory_limit=1000)
    nt.load(path, memory_limit=1e9)
    with pytest.raises(nt.InputError, match="memory_limit='1 GB' was given"):
        nt.load(path, memory_limit="1 GB")


# Writing.


def test_a_write_that_fails_midway_leaves_the_old_file(path, monkeypatch):
    old, new = nt.record(np.sin, 0.5), nt.record(everything, X)
    old.save(path)
    plain = np.lib.format.write_array
    done = []

    def write(file, array, **options):
        done.append(array)
        if len(done) > 3:
            file.write(b"half of")
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(file, array, **options)

    monkeypatch.setattr(np.lib.format, "write_array", write)
    with pytest.raises(OSError, match="No space left"):
        new.save(path)
    assert len(done) > 3
    assert list(path.parent.iterdir()) == [path]
    assert str(nt.load(path)) == str(old)


def test_a_crash_midway_leaves_the_old_file(path):
    old = nt.record(np.sin, 0.5)
    old.save(path)
    program = (
        "import os, sys, numpy as np, numtape as nt\n"
        "tape = nt.record(np.cos, 0.5)\n"
        "os.fsync = lambda file: os._exit(7)\n"
        "tape.save(sys.argv[1])\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run([sys.executable, "-c", program, str(path)], env=environment)
    assert process.returncode == 7
    assert str(nt.load(path)) == str(old)


def test_a_file_is_replaced_at_once_and_links_are_followed(path):
    old, new = nt.record(np.sin, 0.5), nt.record(np.cos, 0.5)
    old.save(path)
    link = path.with_name("link")
    link.symlink_to(path)
    with open(path, "rb") as reader:  # one who reads the old file goes on reading it
        new.save(link)
        assert container.unpack(reader.read(), "old")[0]["operations"] == ["sin"]
    assert link.is_symlink()
    assert str(nt.load(path)) == str(new)
