"""Text of IEEE 488.2 / SCPI instruments as pure functions; channels count from 0 here.

Parsers raise ValueError for what does not fit; the session makes it a protocol error.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray, IntArray

from .interface import Identity

__all__ = [
    "NOT_A_NUMBER",
    "Part",
    "ScpiReport",
    "block_values",
    "channel_list",
    "command",
    "joined",
    "parse_number",
    "parse_numbers",
    "parse_report",
    "parse_scpi_identity",
    "query",
    "split_answers",
]

NOT_A_NUMBER = 9.9e37
"""Magnitudes from here on mean overrange or not-a-number."""

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_REPORT = re.compile(r'([+-]?\d+)\s*,\s*"(.*)"', re.DOTALL)
_LONGEST_LINE = 1000


@final
@dataclass(frozen=True)
class Part:
    """One unit of a message; ``answers`` says whether it is a query."""

    text: str
    answers: bool


def command(text: str) -> Part:
    """Return a unit without an answer."""
    return Part(text, False)


def query(text: str) -> Part:
    """Return a unit with an answer."""
    return Part(text, True)


@final
@dataclass(frozen=True)
class ScpiReport:
    """An entry of the error queue."""

    code: int
    text: str


def channel_list(channels: IntArray | Sequence[int]) -> str:
    """Return ``(@1:3,6)`` for channels 0, 1, 2, 5; ascending neighbours join."""
    numbers = [int(channel) + 1 for channel in channels]
    parts = []
    for _, group in itertools.groupby(enumerate(numbers), key=lambda item: item[1] - item[0]):
        run = [number for _, number in group]
        parts.append(str(run[0]) if len(run) == 1 else f"{run[0]}:{run[-1]}")
    return f"(@{','.join(parts)})"


def joined(parts: Sequence[Part], longest: int = _LONGEST_LINE) -> list[tuple[str, int]]:
    """Join units into lines.

    Returns
    -------
    Lines and the number of their answers, at least one each: a line of commands alone asks
    ``*OPC?``, so that its arrival is known.
    """
    lines: list[tuple[str, int]] = []
    texts: list[str] = []
    answers = 0
    for number, part in enumerate(parts):
        # Absolute headers: the path of the unit before must not be inherited.
        text = part.text if part.text.startswith("*") or not texts else f":{part.text}"
        texts.append(text)
        answers += part.answers
        full = number + 1 == len(parts) or (
            sum(map(len, texts)) + len(texts) + len(parts[number + 1].text) > longest
        )
        if full:
            if not answers:
                texts.append("*OPC?")
            lines.append((";".join(texts), max(answers, 1)))
            texts, answers = [], 0
    return lines


def split_answers(text: str) -> list[str]:
    """Split at semicolons outside quotes."""
    answers, start, quoted = [], 0, False
    for k, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif letter == ";" and not quoted:
            answers.append(text[start:k])
            start = k + 1
    return [answer.strip() for answer in [*answers, text[start:]]]


def parse_number(text: str) -> float:
    """Return a finite number.

    Raises
    ------
    ValueError
        Something else, overrange or not-a-number (9.91E+37).
    """
    if _NUMBER.fullmatch(text.strip()) is None:
        raise ValueError("not a number")
    value = float(text)
    if not abs(value) < NOT_A_NUMBER:
        raise ValueError("overrange or not-a-number")
    return value


def parse_numbers(text: str, count: int) -> FloatArray:
    """Return ``count`` numbers separated by commas; errors as `parse_number`."""
    parts = text.split(",")
    if len(parts) != count:
        raise ValueError(f"{len(parts)} numbers, not {count}")
    return np.array([parse_number(part) for part in parts])


def parse_report(text: str) -> ScpiReport | None:
    """Return an entry of the error queue, None for ``0,"No error"``.

    Raises
    ------
    ValueError
        Another form.
    """
    found = _REPORT.fullmatch(text.strip())
    if found is None:
        raise ValueError('not of the form -113,"Undefined header"')
    code = int(found[1])
    return None if code == 0 else ScpiReport(code, found[2])


def parse_scpi_identity(text: str) -> Identity:
    """Return ``maker,model,serial,firmware``; missing fields are "".

    Raises
    ------
    ValueError
        Less than maker and model.
    """
    fields = [field.strip() for field in text.strip().split(",", 3)]
    if len(fields) < 2 or not all(fields[:2]):
        raise ValueError("not maker,model,serial,firmware")
    fields += [""] * (4 - len(fields))
    return Identity(fields[0], fields[1], fields[2], fields[3], text.strip())


def block_values(
    data: bytes, n_samples: int, n_channels: int, *, swapped: bool, largest: float
) -> FloatArray:
    """Return (n_samples, n_channels) float64 of a block's payload.

    Parameters
    ----------
    swapped
        Little-endian (``FORM:BORD SWAP``).
    largest
        Largest magnitude that the instrument can mean.

    Raises
    ------
    ValueError
        Another length, not finite, overrange, larger than possible; names sample and channel.
    """
    if len(data) != 8 * n_samples * n_channels:
        raise ValueError(f"{len(data)} bytes, not {8 * n_samples * n_channels}")
    values = np.frombuffer(data, "<f8" if swapped else ">f8").astype(float)
    values = values.reshape(n_samples, n_channels)
    bad = ~(np.abs(values) <= largest)
    if bad.any():
        sample, channel = np.argwhere(bad)[0]
        value = values[sample, channel]
        what = (
            "not a number"
            if np.isnan(value)
            else ("overrange" if abs(value) >= NOT_A_NUMBER else "more than possible")
        )
        raise ValueError(f"{value:g} in column {channel}, sample {sample}, is {what}")
    return values
