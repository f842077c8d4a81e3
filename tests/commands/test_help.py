"""What `bench --help` shows, in a terminal of 80 columns."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer
from command import run_bench

from benchmark.commands.app import GROUPS, app


@pytest.mark.parametrize("arguments", [[], ["data"], ["perf"]], ids=["bench", "bench data", "bench perf"])
def test_the_help_fits_80_columns_and_is_not_cut_off(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = run_bench(monkeypatch, capsys, *arguments, "--help")
    assert said.code == 0 and max(map(len, said.out.splitlines())) <= 80
    assert not re.search(r"^  .*\.\.\.$", said.out, re.MULTILINE)


def test_every_command_is_in_one_group(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    commands += [group.name for group in app.registered_groups if group.name]
    listed = [name for group in GROUPS.values() for name in group]
    assert sorted(listed) == sorted(commands)
    out = run_bench(monkeypatch, capsys, "--help").out
    assert [out.count(f"\n  {name} ") for name in listed] == [1] * len(listed)
    assert [out.index(f"\n{title}:") for title in GROUPS] == sorted(out.index(f"\n{title}:") for title in GROUPS)


def test_every_option_says_what_it_is() -> None:
    def options(command: Any, path: str) -> list[tuple[str, str | None]]:
        inner = getattr(command, "commands", {})
        own = [(f"{path} {option.opts[-1]}", option.help) for option in command.params if option.opts[0][0] == "-"]
        return own + [each for name, one in inner.items() for each in options(one, f"{path} {name}")]

    found = options(typer.main.get_command(app), "bench")
    assert len(found) > 60 and [name for name, text in found if not text] == []


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = run_bench(monkeypatch, capsys, "--version")
    assert said.code == 0 and re.fullmatch(r"ood-bench \d+\.\d+\.\d+( \(\S+\))?\n", said.out)
