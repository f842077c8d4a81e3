"""What columns and methods are called for people."""

from __future__ import annotations

from benchmark.errors import BenchError
from benchmark.negatives import variant
from benchmark.plan.methods import REFERENCES

_METHODS = {
    "classifier": "MSP",
    "classifier-rotation": "MSP + rotation",
    "frozen": "Frozen",
    "simclr": "SimCLR",
    "csi": "CSI",
    "oe": "OE",
    "oe-tuned": "OE tuned",
    "oe-rotation": "OE + rotation",
    "oe-tuned-rotation": "OE tuned + rotation",
}
_BACKGROUNDS = {"remove": "BG_RM", "random": "BG_Random", "swaps": "BG_Swaps"}
_WITH_NEGATIVES = {
    "oe-tuned-rotation-": "OE tuned + rotation, ",
    "oe-tuned-": "OE tuned, ",
    "oe-rotation-": "OE + rotation, ",
    "oe-": "OE, ",
}


def title_of(label: str) -> str:
    """What a column is called: the paper's name of the variant, the method's, or the label itself."""
    if label in REFERENCES:
        return label.replace("-", " ")
    if label in _METHODS:
        return _METHODS[label]
    plain, background = background_of(label)
    if background:
        return f"{title_of(plain)} + {background}"
    for prefix, title in _WITH_NEGATIVES.items():
        if label.startswith(prefix):
            return title + title_of(label.removeprefix(prefix))
    try:
        return variant(label).label
    except BenchError:  # the label of another method is no variant
        return label


def background_of(label: str) -> tuple[str, str]:
    """A label without what it tells of its views' backgrounds, and what that is called; "" where they are kept."""
    plain, _, background = label.partition("-bg-")
    return plain, _BACKGROUNDS.get(background, background)
