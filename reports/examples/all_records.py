"""All records as one DataFrame: AUROC of each method by its own score, the mean over the OOD sets of each run.

python reports/examples/all_records.py [FOLDER]     (by default results/reference of this repository)
"""

import sys
from pathlib import Path

import benchmark

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "results/reference/cpu"
df = benchmark.measurements(folder)

end = df["epoch"].isna()  # the rest was measured on the way
detected = df[df["own"] & (df["metric"] == "auroc") & end]
# Runs of one title may differ in their settings: here DINO's batch normalisation. Never average over such a column.
runs = detected.groupby(["model.batch_statistics", "title", "seed"], observed=True)["value"].agg(["mean", "count"])
print(runs.round(1).to_string())
