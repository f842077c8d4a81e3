"""Two sweeps compared: what another setting does to each variant, over the seeds and OOD sets that both have.

python reports/examples/two_sweeps.py [FOLDER FOLDER]
"""

import sys
from pathlib import Path

import benchmark

reference = Path(__file__).parents[2] / "results/reference"
# These two differ in what DINO and Rot. In-Dist. are normalised over (model.batch_statistics), and in the seeds.
folders = sys.argv[1:] or [reference / "background-cpu", reference / "cpu"]
means = []
for folder in folders:
    df = benchmark.measurements(folder)
    scores = df[(df["score"] == "eq6") & (df["metric"] == "auroc") & df["epoch"].isna() & (df["method.name"] == "dino")]
    means.append(scores.groupby(["title", "ood"], observed=True)["value"].mean())
first, second = means[0].align(means[1], join="inner")
difference = (second - first).unstack()
print(f"AUROC by Eq. 6, {folders[1]} less {folders[0]}, in points:")
print(difference.round(1).to_string())
