"""The results of an evaluation as one page that needs nothing else: tables, ROC curves, reliability, distributions."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from sklearn.metrics import roc_curve

from ..media import shown as readable
from .metrics import Scored, reliability

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from .scores import Item

_TEMPLATE = Path(__file__).parent / "evaluation.html.j2"


def page(record: dict[str, Any], items: Sequence[Item], every: Scored) -> str:
    """The page.

    Args:
        record: What `evaluate.write` puts into evaluation.json.
        items: The files.
        every: All that could be judged.
    """
    from .evaluate import scored, shown, shown_ece

    plots = []
    if len(every) and every.fake.any() and not every.fake.all():
        sources = sorted({item.source for item in items})
        by_source = {source: some for source in sources
                     if (some := scored(item for item in items if item.source == source)).fake.any()
                     and not some.fake.all()} or {"all": every}  # fmt: skip
        plots.append(("ROC curves", "Share of manipulated files found against share of genuine files called so, by source.",
                      _roc(by_source)))  # fmt: skip
        for kind in ("image", "video"):
            some = scored(item for item in items if item.kind == kind)
            if some.fake.any() and not some.fake.all():
                title = {"image": "Reliability, pictures", "video": "Reliability, videos"}[kind]
                text = "Stated probability against how often it was so, both classes weighing the same."
                plots.append((title, text, reliability_plot({"all": some})))
        plots.append(("Evidence", "Distribution of the log odds that decide.", _distributions(every)))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"shown": shown, "shown_ece": shown_ece}
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    drawn = [(title, text, Markup(svg(figure))) for title, text, figure in plots]
    return template.render(record=record, plots=drawn, isnan=math.isnan)


def svg(figure: Figure) -> str:
    """The plot as an SVG element; the same every time for the same plot."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "deepfake_detect", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _axes(*, width: float = 4.6, height: float = 4.0) -> tuple[Figure, Any]:
    # A figure of its own and not pyplot's, which keeps every figure until it is closed.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _roc(by_source: dict[str, Scored]) -> Figure:
    figure, axes = _axes()
    for source, some in by_source.items():
        false_alarms, recall, _ = roc_curve(some.fake, some.evidence)
        axes.plot(false_alarms, recall, label=readable(source), linewidth=1.4)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8, linestyle="--")
    axes.set(xlabel="genuine called manipulated", ylabel="manipulated found", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(frameon=False, fontsize=8)
    return figure


def reliability_plot(named: dict[str, Scored]) -> Figure:
    """Stated probability against the share that was manipulated; a point's area is the weight in its bin."""
    figure, axes = _axes()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8, linestyle="--")
    for name, some in named.items():
        rows = np.array(reliability(some.chance, some.fake))
        axes.plot(rows[:, 0], rows[:, 1], linewidth=1.2, label=name)
        axes.scatter(rows[:, 0], rows[:, 1], s=10 + 300 * rows[:, 2])
    axes.set(xlabel="stated P(manipulated)", ylabel="share that was manipulated", xlim=(0, 1), ylim=(0, 1.01))
    if len(named) > 1:
        axes.legend(frameon=False, fontsize=8)
    return figure


def _distributions(every: Scored) -> Figure:
    figure, axes = _axes(height=2.8)
    bins = np.linspace(float(every.evidence.min()) - 0.01, float(every.evidence.max()) + 0.01, 40)
    for fake, name, colour in ((False, "genuine", "#1f77b4"), (True, "manipulated", "#d62728")):
        axes.hist(every.evidence[every.fake == fake], bins=bins, density=True, alpha=0.55, label=name, color=colour)
    axes.set(xlabel="log odds", ylabel="density")
    axes.legend(frameon=False, fontsize=8)
    return figure
