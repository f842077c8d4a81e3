"""Which runs a user means: by name, with or without the id at its end, by a glob, or by the beginning of a name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch

from benchmark.errors import BenchError, some_of


def without_id(name: str) -> str:
    """A run's name without the eight digits of its id, where it has them."""
    return re.sub(r"-[0-9a-f]{8}$", "", name)


def meant(text: str, names: Iterable[str]) -> list[str]:
    """Those of `names` (with ids or without) that `text` means; none where it means nothing of them.

    A glob means all that it matches, with or without the id. Other text means the run of this name, the runs of this
    name whatever their ids, or else the one run whose name begins so. A class of a set may be written cifar10:cat.
    Raises BenchError, one line, for the beginning of several names, and for an empty text.
    """
    if not text:  # it would be the beginning of each, and of the one where there is one
        raise BenchError("an empty name was given, which means no run")
    text, names = text.replace(":", "."), list(dict.fromkeys(names))
    if re.search(r"[*?[]", text):
        return [name for name in names if fnmatch(name, text) or fnmatch(without_id(name), text)]
    for found in (
        [name for name in names if name == text],
        [name for name in names if without_id(name) == text],
        [name for name in names if name.startswith(text)],
    ):
        if len(found) > 1 and without_id(found[0]) != text:
            raise BenchError(f"{text}: {len(found)} runs are called so: {some_of(found)}; {text}* means all of them")
        if found:
            return found
    return []


def meant_or_labelled(text: str, labels: Mapping[str, str]) -> list[str]:
    """The runs that `text` means by their names, as `meant`, or else by their labels. labels: name -> label."""
    return meant(text, labels) or [name for name, label in labels.items() if fnmatch(label, text)]
