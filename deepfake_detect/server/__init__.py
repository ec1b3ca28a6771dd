"""The page and the HTTP interface of `deepfake-detect serve` (extra `serve`)."""
