"""A plot of one's own: Eq. 6 over the epochs, a line for each variant.

python reports/examples/own_plot.py [FOLDER]        writes own-plot.png here
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

import benchmark

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "results/reference/cpu"
df = benchmark.measurements(folder)

on_the_way = df[(df["metric"] == "auroc") & df["epoch"].notna() & (df["model.batch_statistics"] == "mixture")]
lines = on_the_way.groupby(["epoch", "title"], observed=True)["value"].mean().unstack()
axes = lines.plot(marker="o", xlabel="epoch", ylabel="mean AUROC over the OOD sets, %")
axes.figure.savefig("own-plot.png", dpi=150)
plt.close(axes.figure)
print(lines.round(1).to_string())
