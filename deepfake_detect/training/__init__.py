"""Training, evaluation and calibration. Needs the extra `train`; judging media does not."""

from importlib.util import find_spec

_missing = [name for name in ("sklearn", "scipy", "jinja2", "matplotlib") if find_spec(name) is None]
if _missing:
    raise ImportError(
        f'{", ".join(_missing)} missing; deepfake_detect.training needs: pip install "deepfake-detect[train]"'
    )
