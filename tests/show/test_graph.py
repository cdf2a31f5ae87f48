"""Graphs: nodes, edges, numbers, DOT, and the drawing by a program called dot."""

import re
import shutil

import numpy as np
import pytest

import numtape as nt


def f(x, y):
    r = x * y
    return np.sin(r) + np.cos(r)


def test_nodes_and_edges():
    graph = nt.record(f, 2.0, 3.0).graph()
    assert [node.name for node in graph.nodes] == ["x1", "x2", "v1", "v2", "v3", "v4"]
    assert [node.layer for node in graph.nodes] == [0, 0, 1, 2, 2, 3]
    assert [node.is_output for node in graph.nodes] == [False] * 5 + [True]
    assert set(graph.edges) == {
        ("x1", "v1"),
        ("x2", "v1"),
        ("v1", "v2"),
        ("v1", "v3"),
        ("v2", "v4"),
        ("v3", "v4"),
    }
    assert graph.nodes[2].lines == ("v1 = x1 * x2",)
    assert repr(graph) == "<Graph: 6 nodes, 6 edges>"


def test_gradients_accumulate_at_the_nodes():
    graph = nt.record(f, 2.0, 3.0).graph(2.0, 3.0, mode="adjoint", digits=6)
    lines = {node.name: node.lines[-2:] for node in graph.nodes}
    assert lines["v4"] == ("value 0.680755", "adjoint 1")
    slope = np.cos(6.0) - np.sin(6.0)
    assert lines["v1"] == ("value 6", f"adjoint {slope:.6g}")
    assert lines["x1"] == ("value 2", "adjoint 3.71876")
    assert lines["x2"] == ("value 3", "adjoint 2.47917")


def test_dot():
    def g(x):
        y = 2.0 * x if x < 3.0 else x
        return y * y, x

    text = str(nt.record(g, 2.0).graph(2.0, mode="tangent"))
    assert text.startswith("digraph tape {")
    assert text.endswith("}")
    nodes = re.findall(r'^  (\w+) \[label="(.*?)" (shape=box.*)\]$', text, re.M)
    styles = {name: style for name, _, style in nodes}
    assert styles["x"] == "shape=box peripheries=2"
    assert re.fullmatch(r'shape=box style="rounded,dashed" tooltip=".*\.py:\d+"', styles["v1"])
    assert styles["v2"] == "shape=box style=rounded"
    assert styles["v3"] == "shape=box style=rounded peripheries=2"
    labels = {name: label for name, label, _ in nodes}
    assert labels["x"] == "x\\nvalue 2\\ntangent 1"
    assert labels["v1"] == "v1 = x < 3.0\\nguarded: 1\\nvalue 1\\ntangent 0"
    assert labels["v2"] == "v2 = 2.0 * x\\nvalue 4\\ntangent 2"
    assert re.findall(r"^  (\w+) -> (\w+)$", text, re.M) == [
        ("x", "v1"),
        ("x", "v2"),
        ("v2", "v3"),
    ]


def test_an_array_is_one_node():
    x = np.linspace(0.0, 1.0, 50)
    graph = nt.record(lambda x: np.sum(np.exp(x[1:]) * x[:-1]), x).graph(x)
    assert [node.lines[:2] for node in graph.nodes[:2]] == [
        ("x", "(50,)"),
        ("v1 = exp(x[1:])", "(49,)"),
    ]
    assert graph.nodes[0].lines[2].startswith("value [0 0.02")
    assert graph.edges.count(("x", "v2")) == 1


def test_a_constant_output_has_no_node():
    graph = nt.record(lambda x: (x * 2.0, 3.0 + 0.0 * x), 1.0).optimize().graph()
    assert {start for start, _ in graph.edges} <= {node.name for node in graph.nodes}


def test_svg_is_drawn_by_dot(monkeypatch, tmp_path):
    """A program called dot gets the text and the wish for SVG."""
    program = tmp_path / "dot"
    program.write_text('#!/bin/sh\necho "<svg $1>"; cat; echo "</svg>"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    graph = nt.record(f, 2.0, 3.0).graph()
    assert graph.svg() == f"<svg -Tsvg>\n{graph}</svg>\n"
    assert graph._repr_mimebundle_()["image/svg+xml"] == graph.svg()


def test_svg_without_dot(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    graph = nt.record(f, 2.0, 3.0).graph()
    with pytest.raises(nt.UnsupportedError, match=r"'dot' is not on the PATH.*Install it"):
        graph.svg()
    assert graph._repr_mimebundle_() == {"text/plain": str(graph)}


def test_numbers_need_a_point():
    with pytest.raises(nt.InputError, match="without a point"):
        nt.record(f, 2.0, 3.0).graph(mode="adjoint")
