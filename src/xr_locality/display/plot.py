"""A plan as a drawing: regions around an ellipse, arrows for the bytes between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from xr_locality.display import wording
from xr_locality.display.summary import Summary, summarise
from xr_locality.errors import MissingDependencyError
from xr_locality.plan.model import PlanRecord
from xr_locality.regions.region import Region
from xr_locality.runtime import formatting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

__all__ = ["plot"]

#: Where something is drawn, in data units.
Place: TypeAlias = tuple[float, float]

#: Half axes of the ellipse that the regions' centres lie on, in data units.
_HALF_AXES: Final = (1.45, 0.85)

#: Widths of the thinnest and the widest arrow, in points.
_WIDTHS: Final = (1.0, 9.0)

#: How far arrows bend, as a share of their length: those there and back must not meet.
_BEND: Final = 0.22

# Boxes are drawn first: arrows end at boxes, whose size is known once they are drawn.
_BOX, _ARROW, _LABEL = 2, 3, 4


def plot(plan: PlanRecord, *, ax: Axes | None = None) -> Axes:
    """Draw the regions of a plan and the bytes between them.

    Parameters
    ----------
    plan : PlanRecord
        What to draw.
    ax : matplotlib.axes.Axes, optional
        Where to draw; new axes if not given.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed (extra ``plot``).
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingDependencyError(
            "Drawing a plan needs matplotlib, which is not installed. Install "
            "xr-locality[plot], or use plan.explain().",
            extra="plot",
        ) from error
    summary = summarise(plan)
    if ax is None:
        _, ax = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    places = _places(summary)
    boxes = {region: _draw_region(ax, region, summary, places[region]) for region in places}
    flows = _flows(summary)
    most = max((flow.nbytes for flow in flows), default=0)
    for flow in flows:
        _draw_flow(ax, flow, places, boxes, share=flow.nbytes / most if most else 0.0)
    ax.set_title(summary.headline, fontsize="medium")
    ax.set(xlim=(-2.1, 2.1), ylim=(-1.15, 1.15), aspect="equal")
    ax.set_axis_off()
    return ax


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flow:
    """All bytes from one region to another."""

    source: Region
    target: Region
    nbytes: int
    usd: float
    reasons: tuple[str, ...]


def _flows(summary: Summary) -> list[_Flow]:
    flows = []
    for (source, target), nbytes in summary.moved.items():
        parts = [
            each for each in summary.crossings if (each.source, each.target) == (source, target)
        ]
        flows.append(
            _Flow(
                source=source,
                target=target,
                nbytes=nbytes,
                usd=sum(each.usd for each in parts),
                reasons=tuple(wording.WHY[each.why] for each in parts),
            )
        )
    return flows


def _places(summary: Summary) -> dict[Region, Place]:
    """Put the client at the bottom and the others around the ellipse, in their order."""
    found = {each.region for each in summary.regions} | {summary.client}
    found |= {region for pair in summary.moved for region in pair}
    order = [summary.client, *sorted(found - {summary.client})]
    if len(order) == 1:
        return {summary.client: (0.0, 0.0)}
    width, height = _HALF_AXES
    step = 2 * math.pi / len(order)
    return {
        region: (-width * math.sin(step * index), -height * math.cos(step * index))
        for index, region in enumerate(order)
    }


def _draw_region(ax: Axes, region: Region, summary: Summary, place: Place) -> Patch | None:
    does = {each.region: each for each in summary.regions}.get(region)
    lines = [f"{region} (client)" if region == summary.client else str(region)]
    if does is not None:
        tasks = formatting.UNKNOWN if does.n_tasks is None else f"{does.n_tasks:,}"
        reads = wording.estimate(does.nbytes_read, guessed=does.guessed)
        lines += [f"tasks: {tasks}", f"reads: {reads}"]
    box = ax.text(
        *place,
        "\n".join(lines),
        ha="center",
        va="center",
        fontsize="small",
        zorder=_BOX,
        bbox={
            "boxstyle": "round,pad=0.6",
            "facecolor": ax.get_facecolor(),
            "edgecolor": "tab:blue" if does else "tab:gray",
        },
    )
    return box.get_bbox_patch()


def _draw_flow(
    ax: Axes,
    flow: _Flow,
    places: Mapping[Region, Place],
    boxes: Mapping[Region, Patch | None],
    *,
    share: float,
) -> None:
    from matplotlib.patches import ArrowStyle, FancyArrowPatch

    thin, wide = _WIDTHS
    width = thin + (wide - thin) * share
    arrow = FancyArrowPatch(
        places[flow.source],
        places[flow.target],
        patchA=boxes[flow.source],
        patchB=boxes[flow.target],
        shrinkA=2,
        shrinkB=2,
        connectionstyle=f"arc3,rad={_BEND}",
        arrowstyle=ArrowStyle.Simple(head_length=width + 5, head_width=width + 5, tail_width=width),
        mutation_scale=1,
        linewidth=0,
        color="tab:gray",
        alpha=0.6,
        zorder=_ARROW,
    )
    # Until it is drawn an arrow does not know where its boxes end.
    arrow.set_in_layout(False)
    ax.add_patch(arrow)
    # The curve's middle lies half of its bend aside of the straight line's.
    (x0, y0), (x1, y1) = places[flow.source], places[flow.target]
    ax.text(
        (x0 + x1 + _BEND * (y1 - y0)) / 2,
        (y0 + y1 - _BEND * (x1 - x0)) / 2,
        f"{', '.join(flow.reasons)}\n{formatting.nbytes(flow.nbytes)}, {formatting.usd(flow.usd)}",
        ha="center",
        va="center",
        fontsize="x-small",
        zorder=_LABEL,
        bbox={
            "boxstyle": "round,pad=0.2",
            "facecolor": ax.get_facecolor(),
            "edgecolor": "none",
            "alpha": 0.8,
        },
    )
