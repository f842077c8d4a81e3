"""The repository's own pages, and the commands that they show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").exists())
PAGES = [
    *sorted(REPOSITORY.glob("*.md")),
    REPOSITORY / "results/README.md",  # what else is there was written by a program
    REPOSITORY / "reports/README.md",
    REPOSITORY / ".ci/gpu/README.md",
    *(page for folder in ("benchmark", "sweeps", "tests") for page in sorted((REPOSITORY / folder).rglob("*.md"))),
]


def title(page: Path) -> str:
    return str(page.relative_to(REPOSITORY)) if page.is_relative_to(REPOSITORY) else page.name


@dataclass(frozen=True)
class Shown:
    """A command as a page shows it, in words. in_prose: between backticks, where it may be a command's bare name."""

    page: Path
    line: int
    words: tuple[str, ...]
    in_prose: bool = False

    def __str__(self) -> str:
        return f"{title(self.page)}:{self.line}: {shlex.join(self.words)}"

    @property
    def is_template(self) -> bool:
        """Whether it has something in capitals for the reader to fill in, or leaves something out."""
        return any(is_placeholder(word) or "..." in word for word in self.words)


def is_placeholder(word: str) -> bool:
    """SWEEP.yaml, [SWEEP.yaml], RUN|GLOB, NAME-SPLIT/: the reader's to fill in."""
    return re.search(r"[A-Z]{3}", word) is not None


def fences(text: str, language: str) -> Iterator[tuple[int, str]]:
    """(number of the first line, content) of the fenced blocks in this language."""
    for found in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text[: found.start(1)].count("\n") + 1, found.group(1)


def prose(text: str) -> str:
    """The text with its fenced blocks emptied, on the same lines as before."""
    return re.sub(r"^```.*?^```$", lambda found: "\n" * found.group().count("\n"), text, flags=re.M | re.S)


def shown(page: Path) -> Iterator[Shown]:
    """Every command in an `sh` block, and every one between backticks that begins with `bench`."""
    text = page.read_text()
    for first, block in fences(text, "sh"):
        for number, line in enumerate(re.sub(r"\\\n", "  ", block).splitlines()):
            for words in commands(line):
                yield Shown(page, first + number, words)
    text = prose(text)
    for found in re.finditer(r"`(bench [^`]+)`", text):
        line = text[: found.start()].count("\n") + 1
        for words in alternatives(found.group(1).replace("\\|", "|").replace("'", "").split()):
            yield Shown(page, line, tuple(words), in_prose=True)


def commands(line: str) -> Iterator[tuple[str, ...]]:
    """The commands of a shell line, each in words, without the variables set for it."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&;|")
    lexer.whitespace_split = True
    command: list[str] = []
    for word in [*lexer, ";"]:
        if not re.fullmatch(r"[&;|]+", word):
            command.append(word)
            continue
        while command and re.match(r"[A-Z_]+=", command[0]):
            command.pop(0)
        if command:
            yield tuple(command)
        command = []


def alternatives(words: list[str]) -> Iterator[list[str]]:
    """`data list|verify` is two commands, `logs RUN [-f]` has an option that may be left out."""
    for index, word in enumerate(words):
        if re.fullmatch(r"[a-z]+(\|[a-z]+)+", word):
            for one in word.split("|"):
                yield from alternatives([*words[:index], one, *words[index + 1 :]])
            return
    yield [word[1:-1] if word.startswith("[-") else word for word in words]
