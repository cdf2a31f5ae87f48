"""Tapes for people: Wengert lists with their traces, graphs, and expressions for SymPy.

What is here reads a flat tape and numbers of its slots, and makes text, HTML, DOT or
symbolic expressions of them. Nothing here runs, records or transforms a tape.
"""
