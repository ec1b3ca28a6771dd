"""Making the weights: data, blends, augmentation, training, evaluation, export. Inference never imports any of it."""
