"""A network of one's own on image sets that are here: AUROC by several scores, and a record beside all others.

python reports/examples/own_network.py     (built-in images; the network is fresh: its numbers mean nothing)
"""

import torch
import torchvision

import benchmark

network = torchvision.models.resnet18(num_classes=10).eval()
body = torch.nn.Sequential(*list(network.children())[:-1], torch.nn.Flatten())


def answer(images):  # (B, 3, 32, 32) in [0, 1] -> features (B, 512) and logits (B, 10)
    features = body((images - 0.5) / 0.5)
    return features, network.fc(features)


record = benchmark.evaluate(
    answer, in_dist="synthetic", ood=["synthetic-near", "synthetic-textures"], scores=["knn-5", "msp"],
    training_data="scratch", column="my-resnet18",
)  # fmt: skip
for score, found in record.scores.items():
    print(score, {ood: round(metrics.auroc, 1) for ood, metrics in found.ood.items()})
