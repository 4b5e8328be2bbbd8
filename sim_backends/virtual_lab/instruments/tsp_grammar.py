"""The part of the Test Script Processor language that controllers of a source-meter send.

Statements are assignments ``path = value`` and calls ``path(arguments)``, one after another with
or without ``;``; values are numbers, strings, ``true``, ``false``, paths and calls.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import final

__all__ = ["Assignment", "Expression", "Invocation", "Name", "Statement", "TspSyntaxError", "parse"]

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)"
    r"|(?P<name>[A-Za-z_][A-Za-z_0-9]*(?:\.[A-Za-z_][A-Za-z_0-9]*|\[[0-9]{1,3}\])*)"
    r"|(?P<string>\"[^\"]*\"|'[^']*')"
    r"|(?P<mark>[=(),;]))",
    re.ASCII,
)
_MAX_DEPTH = 8


class TspSyntaxError(Exception):
    """The line is no sequence of statements; the text says near what."""


@final
@dataclass(frozen=True)
class Name:
    """An attribute: ``smua.source.levelv``."""

    path: str


@final
@dataclass(frozen=True)
class Invocation:
    """A call: ``smua.measure.v()``."""

    path: str
    arguments: tuple[Expression, ...]


Expression = float | str | bool | Name | Invocation


@final
@dataclass(frozen=True)
class Assignment:
    """``path = value``."""

    path: str
    value: Expression


Statement = Assignment | Invocation


@final
class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at, text = 0, text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None or match.end() == at:
                raise TspSyntaxError(f"unexpected symbol near `{text[at : at + 20].strip()}'")
            self._tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            at = match.end()
        self._at = 0

    def peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "<eof>")

    def take(self, kind: str = "", text: str = "") -> str:
        found = self.peek()
        if (kind and found[0] != kind) or (text and found[1] != text):
            raise TspSyntaxError(f"unexpected symbol near `{found[1]}'")
        self._at += 1
        return found[1]

    def expression(self, depth: int = 0) -> Expression:
        if depth > _MAX_DEPTH:
            raise TspSyntaxError("chunk has too many syntax levels")
        kind, text = self.peek()
        if kind == "number":
            self.take()
            return float(text)
        if kind == "string":
            self.take()
            return text[1:-1]
        path = self.take("name")
        if path in {"true", "false"}:
            return path == "true"
        return self.call(path, depth) if self.peek()[1] == "(" else Name(path)

    def call(self, path: str, depth: int) -> Invocation:
        self.take("mark", "(")
        arguments: list[Expression] = []
        while self.peek() != ("mark", ")"):
            if arguments:
                self.take("mark", ",")
            arguments.append(self.expression(depth + 1))
        self.take("mark", ")")
        return Invocation(path, tuple(arguments))


def parse(line: str) -> list[Statement]:
    """Return the statements of a line.

    Raises
    ------
    TspSyntaxError
        The line cannot be read; nothing of it may run.
    """
    reader = _Reader(line)
    statements: list[Statement] = []
    while reader.peek()[0] != "end":
        if reader.peek() == ("mark", ";"):
            reader.take()
            continue
        path = reader.take("name")
        if reader.peek() == ("mark", "="):
            reader.take()
            statements.append(Assignment(path, reader.expression()))
        else:
            statements.append(reader.call(path, 0))
    return statements
