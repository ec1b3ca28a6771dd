"""The trained weights, their manifest and their card. No code: `deepfake_detect.checkpoint` reads them."""
