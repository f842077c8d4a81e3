"""Networks: backbones that yield features, heads on top of them."""
