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
# The longest name first: each is how the labels with its negatives begin.
_OUTLIER_EXPOSURE = {name: title for name, title in reversed(_METHODS.items()) if name.startswith("oe")}


def title_of(label: str) -> str:
    """What a column is called: the paper's name of the variant, the method's, or the label itself."""
    if label in REFERENCES:
        return label.replace("-", " ")
    if label in _METHODS:
        return _METHODS[label]
    plain, background = background_of(label)
    if background:
        return f"{title_of(plain)} + {background}"
    for name, title in _OUTLIER_EXPOSURE.items():
        if label.startswith(f"{name}-"):  # then the negatives that are its outliers
            return f"{title}, {title_of(label.removeprefix(f'{name}-'))}"
    try:
        return variant(label).label
    except BenchError:  # the label of another method is no variant
        return label


def background_of(label: str) -> tuple[str, str]:
    """A label without what it tells of its views' backgrounds, and what that is called; "" where they are kept."""
    plain, _, background = label.partition("-bg-")
    return plain, _BACKGROUNDS.get(background, background)
