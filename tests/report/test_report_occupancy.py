"""Occupied soft classes have two readings: whatever reports them takes that of the runs' protocol."""

from __future__ import annotations

from report_fakes import config, record_of

from benchmark.advise.rules import tried
from benchmark.negatives import VARIANTS
from benchmark.plan.config import RunConfig
from benchmark.report.claims.paper import check
from benchmark.report.figures.panels import Bars
from benchmark.report.figures.paper import figure2
from benchmark.report.figures.training import curves, panels
from benchmark.report.grouping import group_runs
from benchmark.report.groups import Group
from benchmark.report.tables.auroc import table2
from benchmark.store.records import IntermediateMeasures, Record

OODS = ["cifar100", "svhn"]


def counts(run: RunConfig) -> dict[str, float]:
    """By the authors' reading DINO has most and ImgN comes next, by the paper's Rot. ImgN has most."""
    place = list(VARIANTS).index(run.variant)
    return {"authors": 900.0 - 50 * place, "paper": 2000.0 if run.variant == "rot-imgn" else 1000.0, "classes": 4096}


def record(run: RunConfig) -> Record:
    look = IntermediateMeasures(epoch=1, knn_accuracy={}, ood={}, sensitivity=50, occupancy=counts(run))
    return record_of(run, lambda c, ood: 70.0 + 10 * (c.variant == "rot-imgn"), occupancy=counts(run),
                     trajectory=[look])  # fmt: skip


def group_of(protocol: str) -> Group:
    wanted = {"protocol": protocol, "eval": {"ood": OODS}}
    configs = [config(variant=name, seed=seed, **wanted) for name in VARIANTS for seed in (0, 1)]
    (group,) = group_runs(configs, [record(one) for one in configs])
    return group


def test_tables_claims_rules_and_figures_take_the_protocols_reading() -> None:
    for protocol, dino, imgn, margin, lost in (("authors", 900, 850, 50, 10.0), ("paper", 1000, 1000, -1000, 0.0)):
        group = group_of(protocol)
        (row,) = [row for row in table2(group)[0].rows if row.key == "occupied of 4096 classes"]
        assert [row.cells[name].ours.mean for name in ("dino", "imgn")] == [dino, imgn]  # type: ignore[union-attr]
        (claim,) = [claim for claim in check(group) if "fewer soft classes" in claim.text]
        assert (claim.ours, claim.verdict) == (margin, "holds" if margin > 0 else "fails")
        found = tried("mine", group, ["cifar10"])  # the most occupied is DINO, or Rot. ImgN, which detects best
        assert found is not None and found.lost["own"]["occupied"] == lost
        (_, (_, last)) = curves(panels(group, "cifar10")["occupied soft classes"])["imgn"]
        assert last.mean == imgn
        bars = figure2(group, "cifar10").rows[0][0]
        assert isinstance(bars, Bars) and bars.bars["imgn"][1].mean == imgn
