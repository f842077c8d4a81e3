"""From features to scores to metrics: Eq. 6, k-NN accuracy, occupancy, and what the scores are worth.

One sign everywhere: a larger score means more out-of-distribution (OOD).
AUROC, AUPR, FPR95 and k-NN accuracy are in per cent.
"""
