"""A class of a labelled set as a set of its own: `cifar10:automobile`, and all others, `cifar10:not-automobile`.

Names and labels alone: `images` reads. A class goes by its slug (lower case, what is not a-z or 0-9 a single "-"), or
by its label number where it has no name or shares its slug with another. A name that is itself a class's wins over the
reading "all but"; images of unknown class (label -1) are in neither.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.data import catalog
from benchmark.data.catalog import split_class
from benchmark.errors import BenchError, unknown

OTHERS = "other-classes"  # in `eval.ood`: all classes but the run's in_dist
EVERY = "*"  # in a grid's `in_dist`, after SET: every class of the set
_NOT = "not-"


@dataclass(frozen=True)
class Part:
    """The images with this label, or with any other known one (`others`), of a set."""

    label: int
    others: bool

    def rows(self, labels: np.ndarray) -> np.ndarray:
        """Positions of these images in a split with `labels` (N,), rising."""
        chosen = (labels != self.label) & (labels >= 0) if self.others else labels == self.label
        return np.flatnonzero(chosen)

    def text(self) -> str:
        """The part in its one form: it is hashed."""
        return f"{'all but' if self.others else 'only'} label {self.label}"

    def fingerprint(self, whole: str) -> str:
        """sha256 (hex) that stands for this part of the split whose sha256 is `whole`."""
        return hashlib.sha256(f"{self.text()} of {whole}".encode()).hexdigest()


def slug(title: str) -> str:
    """A class's name in the name of a set: "American alligator" -> "american-alligator"; "" where nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def names_of(titles: Sequence[str], origin: str) -> dict[str, int]:
    """Name -> label of the classes with these titles, in label order. Raises BenchError where two have one name."""
    slugs = [slug(title) for title in titles]
    often = Counter(slugs)
    names: dict[str, int] = {}
    for label, plain in enumerate(slugs):
        name = plain if plain and often[plain] == 1 else str(label)
        if name in names:
            raise BenchError(
                f"{origin}: its classes {titles[names[name]]!r} and {titles[label]!r} would both be called {name!r}; "
                "give one another name and import the set again"
            )
        names[name] = label
    return names


def official_names(name: str) -> dict[str, int] | None:
    """Name -> label of the classes that the catalogue has for a set, at any size; None where it has none."""
    titles = catalog.class_titles(name)
    return None if titles is None else names_of(titles, name)


def stored_names(
    name: str, split: str, titles: Sequence[str] | None, labels: Callable[[], list[np.ndarray]]
) -> dict[str, int]:
    """Name -> label of the classes of a stored set, in label order.

    titles: as its manifest has them. labels: gives the labels of all its splits; read where there are no titles. A set
    of the catalogue that came without titles is taken to have the official order of labels. Raises BenchError for a
    set without labels, and for one whose stored classes are others than the catalogue's.
    """
    known = official_names(name)
    if titles:
        names = names_of(titles, f"image set {name}/{split}")
        if known is not None and names != known:
            raise BenchError(
                f"image set {name}/{split}: its stored classes ({', '.join(titles[:3])}, ...) are not those of "
                f"{catalog.info(name).title} ({', '.join([*known][:3])}, ...); import it under a name of its own"
            )
        return names
    # By number, over all splits, so that a class has one name in all of them.
    found = sorted({int(label) for part in labels() for label in np.unique(part) if label >= 0})
    if not found:
        raise BenchError(f"image set {name}/{split}: has no labels, and so no classes to choose from")
    if known is not None and found[-1] < len(known):
        return known
    return {str(label): label for label in found}


def part_manifest(whole: Mapping[str, Any], name: str, split: str, part: Part, labels: np.ndarray) -> dict[str, Any]:
    """The manifest of a part of a split with manifest `whole` and `labels` (N,). Raises BenchError for no images."""
    count = len(part.rows(labels))
    if not count:
        raise BenchError(f"image set {name}/{split}: {split_class(name)[0]}/{split} has no images of it")
    recipe = f"{whole['recipe']}; {part.text()}"
    return {**whole, "name": name, "count": count, "sha256": part.fingerprint(whole["sha256"]), "recipe": recipe}


def find(name: str, names: Mapping[str, int]) -> Part:
    """Which images of its set SET:CLASS means. names: name -> label of the set's classes.

    Raises BenchError for a class that does not exist, with those that do, and for another spelling, with the right one.
    """
    parent, of = split_class(name)
    assert of is not None
    part = _exactly(of, names)
    if part is not None:
        return part
    if of == EVERY:
        raise BenchError(f"{name!r} stands for every class of {parent} in the in_dist of a grid alone")
    others, bare = (_NOT, of[len(_NOT) :]) if of.startswith(_NOT) else ("", of)
    by_number = {str(label): known for known, label in names.items()}
    meant = by_number.get(bare.lstrip("0") or bare[:1])
    for candidate in (slug(of), others + meant if meant else ""):
        if _exactly(candidate, names):
            raise BenchError(f"{name!r}: this class is called {parent}:{candidate}")
    raise BenchError(unknown(f"class of {parent}", bare, names))


def _exactly(of: str, names: Mapping[str, int]) -> Part | None:
    if of in names:
        return Part(names[of], False)
    if of.startswith(_NOT) and of[len(_NOT) :] in names:
        return Part(names[of[len(_NOT) :]], True)
    return None


def check_name(name: str) -> None:
    """Raise BenchError for SET:CLASS that no set could have, or that a set with known classes has not."""
    parent, of = split_class(name)
    if of is None:
        return
    known = official_names(parent)
    if known is not None or of == EVERY:
        find(name, known or {})
    elif of != slug(of):
        raise BenchError(f"{name!r}: a class goes by its slug (a-z, 0-9 and '-'), as in {parent}:{slug(of) or '0'}")


def other_classes(name: str) -> str:
    """The set of all classes but this one, and of this one again. Raises BenchError for a whole set."""
    parent, of = split_class(name)
    if of is None:
        raise BenchError(f"{OTHERS!r} needs a class as in_dist, as in cifar10:automobile; in_dist is {name!r}")
    return f"{parent}:{of.removeprefix(_NOT)}" if of.startswith(_NOT) else f"{parent}:{_NOT}{of}"


def check_apart(in_dist: str, oods: Iterable[str], names: Mapping[str, int] | None, by_default: bool = False) -> None:
    """Raise BenchError where an OOD set shares images with `in_dist`, one of the two being a class or several.

    names: of the classes of in_dist's set; None where they are not known, and then only what is plain without them is
    found. by_default: the OOD sets are to hold all other classes, and not one that happens to be called not-....
    """
    (mine, of), base = split_class(in_dist), catalog.set_behind(in_dist)
    for ood in oods:
        other = split_class(ood)[1]
        if catalog.set_behind(ood) != base or (of is None and other is None):
            continue
        if of is None or other is None or of == other:
            shared = True
        elif names is None:
            continue
        else:
            here, there = _labels(find(in_dist, names), names), _labels(find(ood, names), names)
            shared = bool(here & there)
            if by_default and ood == other_classes(in_dist) and here | there != set(names.values()):
                raise BenchError(
                    f"{ood!r} is a class of {mine} itself, and not all classes but one: name the sets in eval.ood"
                )
        if shared:
            instead = f"; all other classes are {other_classes(in_dist)}" if of is not None else ""
            raise BenchError(f"{ood!r} holds images of in_dist {in_dist!r}, which are not out of distribution{instead}")


def _labels(part: Part, names: Mapping[str, int]) -> set[int]:
    return {label for label in names.values() if (label == part.label) != part.others}
