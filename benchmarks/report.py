"""The report of a benchmark as Markdown: notes, tables, and the claims that it tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of cells that are printed as they are."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]

    def __str__(self) -> str:
        """Return Markdown whose columns also line up in a terminal."""
        cells = [[str(cell) for cell in row] for row in (self.header, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        cells.insert(1, ["-" * width for width in widths])
        lines = (
            " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in cells
        )
        return "\n".join(f"| {line} |" for line in lines)


@dataclass(frozen=True)
class Claim:
    """One row of the summary; medians decide whether it is reached."""

    what: str
    rival: str
    to_reach: str
    measured: str
    reached: bool


@dataclass(frozen=True)
class Report:
    """The result of one benchmark."""

    title: str
    notes: Sequence[str]
    tables: Sequence[Table]
    claims: Sequence[Claim]

    def __str__(self) -> str:
        notes = "\n".join(f"- {note}" for note in self.notes)
        tables = "\n\n".join(map(str, self.tables))
        return f"## {self.title}\n\n{notes}\n\n{tables}"


def summary(claims: Iterable[Claim]) -> str:
    """Return the table of all claims."""
    rows = [
        (claim.what, claim.rival, claim.to_reach, claim.measured, "yes" if claim.reached else "no")
        for claim in claims
    ]
    return f"## Summary\n\n{Table(('claim', 'rival', 'to reach', 'measured', 'reached'), rows)}"
