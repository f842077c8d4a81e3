"""What a run was allowed to learn from: columns with the same training data compare without a second thought."""

from __future__ import annotations

from benchmark.data.catalog import info, split_size
from benchmark.negatives import IN_DIST
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import REFERENCES

SCRATCH = "scratch"
LABELS = "labels"
UNTRAINED = "scratch, no training"
MADE_WITH_LABELS = {"dti", "synthetic-dti"}  # sets that were cleaned with the help of class labels

MEANINGS = {
    "scratch": "in-distribution images alone",
    "aux": "with auxiliary unlabelled images",
    "made with labels": "the auxiliary images were chosen with class labels",
    "labels": "with the in-distribution images' class labels",
    "pretrained": "from weights trained elsewhere",
    "no training": "a reference row",
}


def training_data(config: RunConfig) -> str:
    """What a run's training reads: "scratch", "aux", "aux, made with labels", "labels", "pretrained" and their
    combinations."""
    if config.method.name in REFERENCES:
        return UNTRAINED
    parts = []
    if config.model.args.get("pretrained") or config.model.args.get("checkpoint_path"):
        parts.append("pretrained")
    if config.method.labels:
        parts.append(LABELS)
    sources = {source for kind in config.kinds() for source in kind.sources} - {IN_DIST}
    if sources:
        parts.append("aux")
        sets = {split_size(config.data.sources[source])[0] for source in sources}
        originals = {info(name).stands_for or name for name in sets}
        if (sources | sets | originals) & MADE_WITH_LABELS:
            parts.append("made with labels")
    return ", ".join(parts) or SCRATCH


def meaning(many: list[str]) -> str:
    """A note that explains the words of these."""
    words = {word for one in many for word in one.split(", ")}
    return "Training data: " + "; ".join(f"{word}: {text}" for word, text in MEANINGS.items() if word in words) + "."
