"""The scores that a run can be asked for beside its method's own, by name; what each needs, told without torch.

A name is a score, `NAME@T` with a temperature or `NAME-COUNT` with a count where it takes one, or a sum of several:
"eq6", "eq6@0.1", "knn-5", "mahalanobis-10", "eq6-rotations+energy-gap".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from benchmark import plugins
from benchmark.errors import BenchError, unknown

# What a score reads beside the features of the test image. norm: their length before normalisation. logits: of the
# method's classes, soft or real. rotations: all of it for the image turned by 90, 180 and 270 degrees as well;
# permutations: for the image with its quarters in three fixed orders. negatives: the features of some of the run's
# negatives, of their own length, when it is fitted.
Need = Literal["norm", "logits", "rotations", "permutations", "negatives"]
NEEDS: frozenset[Need] = frozenset(get_args(Need))
EQ6 = "eq6"  # the paper's score, that of DINO
OWN = "own"  # in place of a score's name: of each run the one that its method is published with
COPIES = 3  # of the image, beside itself, of each kind


@dataclass(frozen=True)
class Kind:
    """A kind of score: "module:Class" in benchmark/scoring or another package's class, what it needs, and the number
    that its name may carry.

    number: "temperature" after an @, "count" after a -; required: the name alone is none.
    """

    made_by: str | type
    needs: frozenset[Need] = frozenset()
    number: Literal["temperature", "count"] | None = None
    required: bool = False


KINDS: dict[str, Kind] = {
    "eq6": Kind("banks:Eq6", number="temperature"),
    "eq6-from-negatives": Kind("banks:Eq6FromNegatives", frozenset({"norm", "negatives"}), number="temperature"),
    "eq6-confident": Kind("banks:Eq6OfConfident", frozenset({"logits"}), number="temperature"),
    "knn": Kind("banks:NearestNeighbour", number="count", required=True),
    "cosine": Kind("banks:LargestCosine"),
    "mahalanobis": Kind("mahalanobis:Mahalanobis", number="count"),
    "msp": Kind("logits:MaximumProbability", frozenset({"logits"})),
    "max-logit": Kind("logits:MaximumLogit", frozenset({"logits"})),
    "energy": Kind("logits:Energy", frozenset({"logits"})),
    "negative-norm": Kind("logits:NegativeNorm", frozenset({"norm"})),
    "eq6-rotations": Kind("copies:Eq6OverRotations", frozenset({"rotations"})),
    "energy-gap": Kind("copies:EnergyGap", frozenset({"logits", "rotations"})),
    "eq6-permutations": Kind("copies:Eq6OverPermutations", frozenset({"permutations"})),
    "energy-gap-permutations": Kind("copies:EnergyGapOfPermutations", frozenset({"logits", "permutations"})),
}


@dataclass(frozen=True)
class Part:
    """One score of a sum: its kind, and the number that the name carries."""

    kind: Kind
    number: float | None = None

    @property
    def count(self) -> int:
        """How many training images it asks for at least: a count after a -, else one."""
        return int(self.number) if self.kind.number == "count" and self.number else 1


def parts(name: str) -> list[Part]:
    """The scores whose sum `name` is; one for most. Raises BenchError, with what is allowed, for a name of none."""
    return [_part(one, name) for one in name.split("+")]


def needs(names: list[str]) -> frozenset[Need]:
    """All that these scores read beside the features."""
    return frozenset[Need]().union(*(part.kind.needs for name in names for part in parts(name)))


def passes(name: str) -> int:
    """Passes of the network that the score `name` takes for a test image."""
    return 1 + COPIES * len(needs([name]) & {"rotations", "permutations"})


def _part(name: str, whole: str) -> Part:
    kind = _kind(name)
    if kind and not kind.required:
        return Part(kind)
    stem, at, number = name.partition("@")
    if at and (kind := _kind(stem)) and kind.number == "temperature":
        if not re.fullmatch(r"\d+(\.\d+)?", number) or float(number) == 0:
            raise BenchError(f"{whole!r}: a temperature after @ is a number above 0, as in {stem}@0.1")
        return Part(kind, float(number))
    stem, _, number = name.rpartition("-")
    if (kind := _kind(stem)) and kind.number == "count" and re.fullmatch(r"0*[1-9]\d*", number):
        return Part(kind, int(number))
    takes = {"count": "-5", "temperature": "@0.1"}
    known = [known + takes.get(str(kind.number), "") if kind.required else known for known, kind in KINDS.items()]
    known += plugins.names("scores")
    raise BenchError(unknown("score", name, known) + "; or a sum of them, as in eq6-rotations+energy-gap")


def _kind(name: str) -> Kind | None:
    """The kind of score called so, ours or another package's; None where there is none."""
    ours = KINDS.get(name)
    made = plugins.load("scores", name, built_in=ours is not None)
    if made is None:
        return ours
    needed = frozenset(getattr(made, "needs", ()))
    number, required = getattr(made, "number", None), bool(getattr(made, "required", False))
    if not (isinstance(made, type) and hasattr(made, "fit") and hasattr(made, "score")) or not needed <= NEEDS:
        package = plugins.package_of("scores", name)
        raise BenchError(
            f"package {package}: {name!r} of ood_bench.scores is no class with `fit` and `score` whose `needs` are of "
            + ", ".join(sorted(NEEDS))
        )
    return Kind(made, needed, number, required)
