"""The model card that goes with a detector: what it is, where it comes from, what it was measured to do."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from benchmark.detector.artifact import Settings
from benchmark.plan.scores import EQ6, passes
from benchmark.plan.training_data import meaning
from benchmark.views.recipes import input_of


def model_card(settings: Settings) -> str:
    """README.md of a detector."""
    templates = Environment(loader=PackageLoader("benchmark.detector"), undefined=StrictUndefined, trim_blocks=True,
                            lstrip_blocks=True, keep_trailing_newline=True)  # fmt: skip
    templates.filters["repr"] = repr
    threshold, environment = settings.threshold, settings.environment
    by, interpolation = input_of(settings)
    mean, std = (", ".join(f"{number:g}" for number in numbers) for numbers in (by.mean, by.std))
    known = {k: accuracy for k, accuracy in settings.figures.knn_accuracy.items() if accuracy is not None}
    return templates.get_template("card.md.j2").render(
        s=settings, bank=settings.bank, threshold=threshold, figures=settings.figures, environment=environment,
        size=settings.image_size, mean=mean, std=std, interpolation=interpolation, eq6=EQ6,
        passes=passes(settings.score),
        negatives="" if settings.variant in ("none", "dino") else f" with the negatives {settings.variant}",
        training_data=meaning([settings.training_data]) if settings.training_data else "",
        asked=f"{100 * threshold.asked:g}",
        rates=" to ".join(f"{100 * bound:.2f}%" for bound in threshold.rate_interval),
        values=" to ".join("beyond the held-out scores" if v is None else f"{v:.6g}" for v in threshold.value_interval),
        accuracy=", ".join(f"{accuracy:.1f}% (k = {k})" for k, accuracy in known.items()),
        packages=", ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items()),
    )  # fmt: skip
