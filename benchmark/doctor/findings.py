"""What a check finds, and how it is shown."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from benchmark.errors import first_line

SCHEMA = 1  # of the JSON
State = Literal["ok", "note", "missing", "broken"]


@dataclass(frozen=True)
class Finding:
    """One thing about this machine.

    state: "ok"; "note", worth knowing; "missing", something works only with it; "broken", there and not working.
    """

    state: State
    what: str
    detail: str
    to_do: str = ""


Check = Callable[[], list[Finding]]


def examine(checks: Iterable[tuple[str, Check]]) -> list[Finding]:
    """What all checks find. A check that raises is itself broken: nothing here may keep the others from being said."""
    found = []
    for name, check in checks:
        try:
            found += check()
        except Exception as error:
            found.append(Finding("broken", name, f"could not be looked at: {first_line(error)}"))
    return found


def lines(findings: Iterable[Finding], width: int) -> list[str]:
    """A screen of `width` columns: a line or more a finding, what to do below it."""
    shown, width = [], max(width, 40)
    for finding in findings:
        head = f"{finding.state:<8}{finding.what:<12}"
        wrapped = textwrap.wrap(finding.detail, width - len(head), break_on_hyphens=False) or [""]
        shown.append(f"{head}{wrapped[0]}".rstrip())
        shown += [" " * len(head) + part for part in wrapped[1:]]
        if finding.to_do:
            indent = " " * len(head)
            shown += textwrap.wrap(
                f"-> {finding.to_do}", width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
            )
    return shown


def as_json(findings: Iterable[Finding]) -> dict[str, Any]:
    """The findings as plain values."""
    return {"schema_version": SCHEMA, "findings": [asdict(finding) for finding in findings]}
