"""The words of the pages and messages: plain phrases, and sentences of at most thirty words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from readmes import PAGES, REPOSITORY, title

LONGEST = 30  # words of a sentence on a page
# Phrases that read oddly to people of the field, and what stands in their place.
ODD = {
    r"(one|a) (run|process|metric)s? a (GPU|core|set|CPU)": "one run per GPU",
    r"\ba (row|column|line|bit|file|folder|number) an? (class|number|score|image|run|set|pixel|command|variant)\b":
        "a row per class",
    r"\bdetects? by another score": "use another scoring function",
    r"from their kept weights": "computes missing scores from the saved weights",
    r"surest of": "highest maximum class probability",
    r"\basked again on a CPU": "re-evaluated",
    r"\bsaid and no fault": "is reported but not counted as an error",
    r"\b[Ww]ho edits\b.*\bnot found": "consistent tampering is not detected",
    r"\bcolumns stand\b.*\b(published|order)": "the methods rank as published",
    r"\bblind choice|than blind\b": "a random choice",
    r"\bunseen by itself": "leave-one-out",
    r"\bwhat lacks\b": "what is missing",
    r"\ba league of (its|their) own": "a group of its own",
}  # fmt: skip
CODE = [
    path
    for folder in ("benchmark", "sweeps")
    for path in sorted((REPOSITORY / folder).rglob("*"))
    if path.suffix in (".py", ".yaml", ".html")
]


def sentences(text: str) -> list[str]:
    """The sentences of a Markdown page, without tables, code, headings and the addresses of links."""
    text = re.sub(r"^```.*?^```$", "\n\n", text, flags=re.M | re.S)
    text = re.sub(r"^(\|.*|#.*|!\[.*)$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = re.sub(r"`[^`]*`", "`code`", text)
    text = re.sub(r"^\s*(- |\d+\. )", "\n\n", text, flags=re.MULTILINE)
    blocks = (" ".join(block.split()) for block in re.split(r"\n\s*\n", text))
    return [one for block in blocks for one in re.split(r"(?<=[.?!:])[*)\"]* +(?=[A-Z`*\[(])", block) if one]


def words(sentence: str) -> list[str]:
    return re.findall(r"[\w`][\w'’.,%²³/-]*", sentence)


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_sentences_are_short(page: Path) -> None:
    long = [one for one in sentences(page.read_text()) if len(words(one)) > LONGEST]
    assert not long, "\n" + "\n".join(f"{len(words(one))}: {one}" for one in long)


@pytest.mark.parametrize("path", [*PAGES, *CODE], ids=title)
def test_no_phrase_that_reads_oddly(path: Path) -> None:
    text = " ".join(line.strip().lstrip("#").strip() for line in path.read_text().splitlines())
    found = {pattern: hit.group() for pattern in ODD if (hit := re.search(pattern, text[: 10**7]))}
    assert not found, {hit: ODD[pattern] for pattern, hit in found.items()}
