"""What a run was allowed to learn from: columns with the same training data compare without a second thought."""

from __future__ import annotations

from benchmark.data.catalog import info, set_behind, split_class, split_size
from benchmark.data.pretraining import IMAGENET_1K, overlap
from benchmark.negatives import IN_DIST
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import REFERENCES, FeaturesConfig

TRAINABLE = 2000  # ID images below which a network from scratch learns little
SCRATCH = "scratch"
LABELS = "labels"
UNTRAINED = "scratch, no training"
MADE_WITH_LABELS = {"dti", "synthetic-dti"}  # sets that were cleaned with the help of class labels

MEANINGS = {
    "scratch": "in-distribution images alone",
    "aux": "with auxiliary unlabelled images",
    "made with labels": "the auxiliary images were chosen with class labels",
    "labels": "with the in-distribution images' class labels",
    "pretrained (supervised)": "from weights trained elsewhere, with labels",
    "pretrained (self-supervised)": "from weights trained elsewhere, without labels",
    "no training": "a reference row",
}


def training_data(config: RunConfig) -> str:
    """What a run's training reads: "scratch", "aux", "aux, made with labels", "labels", "pretrained (supervised)" or
    "pretrained (self-supervised)", as its settings say, and their combinations."""
    if config.method.name in REFERENCES:
        return UNTRAINED
    if isinstance(config.method, FeaturesConfig):
        return config.method.training_data
    parts = []
    if config.model.weights is not None:
        parts.append(f"pretrained ({config.model.pretraining})")
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


def made_elsewhere(config: RunConfig) -> str:
    """What a column is whose features this project has not trained, in a few words; "" for any other."""
    method, model = config.method, config.model
    if isinstance(method, FeaturesConfig):
        return f"features from elsewhere, sha256 {method.sha256[:8]}"
    if method.name != "frozen":
        return ""
    args = "".join(f", {key} {value}" for key, value in model.args.items())
    known = str(model.weights_sha256)[:8]
    return f"{model.backbone}{args}, frozen, weights sha256 {known}, {config.views.global_size} px"


def caveats(config: RunConfig) -> list[str]:
    """What a reader must know of a run that begins with weights from elsewhere, a line each; [] for any other."""
    if config.model.weights is None:
        return []
    made, learnt, oods = [], config.model.pretraining_data, config.ood_sets()
    if learnt == IMAGENET_1K:
        found = {name: overlap(name) for name in map(set_behind, (config.in_dist, *oods))}
        known = [f"{seen} of {of} of {info(name).title}" for name, (seen, of) in _known(found).items()]
        unknown = [info(name).title for name, both in found.items() if both is None]
        made.append(
            "Classes that the weights have seen in ImageNet-1k: "
            + ", ".join([*known, *([f"not known of {', '.join(unknown)}"] if unknown else [])])
            + ". An OOD class that they have seen is not new to them."
        )
    else:
        of = f"the classes of {learnt} are not known here" if learnt else "model.pretraining_data is not given"
        made.append(f"Which in-distribution and OOD classes the weights have seen is not known: {of}.")
    size, stored = config.input_sizes()[0], config.data.image_size
    if size > stored:
        sharp = [info(name).title for name in oods if split_size(split_class(config.stored_name(name))[0])[1] > stored]
        made.append(
            f"Images of {stored} pixels are enlarged to {size}: softer than what the weights were trained on"
            + (f", and than {', '.join(sharp)}, stored larger, which sharpness alone tells." if sharp else ".")
        )
    if any(name.startswith("mahalanobis") for name in config.scores()):
        made.append("Mahalanobis depends on how a backbone's features vary: compare it within one backbone.")
    return made


def _known(found: dict[str, tuple[int, int] | None]) -> dict[str, tuple[int, int]]:
    return {name: both for name, both in found.items() if both is not None}
