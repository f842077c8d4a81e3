"""What a trained method makes of the test images: features, scores, measures."""
