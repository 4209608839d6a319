"""Look of the pictures: colours, fonts and an empty figure."""

from __future__ import annotations

import plotly.graph_objects as go

INK, FAINT, GRID, BOUNDARY = "#1B2430", "#5F6B7A", "#E7EBEF", "#A9B4BF"

# Okabe & Ito, "Color Universal Design" (2008): hues that colour-blind readers tell apart. Their yellow is left
# out and the light ones are darkened, so that thin lines and text stay readable on white.
PALETTE = ("#D55E00", "#0072B2", "#00875F", "#B5609A", "#C98300", "#3F9CCB", "#6C5BA7")
REFERENCE = "#5F6B7A"  # references such as the joint run, which take no part in the ranking
SHARED = "#2F3A46"  # a stage that several strategies have in common
DASHES = ("solid", "dash", "dot", "dashdot")

SCALE = [[0.0, "#F2F7FB"], [0.5, "#7FB0D3"], [1.0, "#0B3C5D"]]  # one hue; darker = higher loss
TWO_SIDED = [[0.0, "#B35806"], [0.5, "#F7F7F7"], [1.0, "#2C6E9B"]]  # below zero, zero, above zero
SOURCES = ("#0B3C5D", "#6FA8CF", "#C3DCEC", "#8A94A0", "#2F7F86", "#8CC5BF", "#D8DDE2")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def empty(title: str, unit: str, height: int) -> go.Figure:
    """An empty figure in the common style: no box, a faint grid, tokens on the x axis.

    Args:
        title: title.
        unit: unit, printed small after the title.
        height: height in pixels.
    """
    figure = go.Figure()
    heading = f"<b>{title}</b>" + (f"<span style='color:{FAINT};font-size:12px'>   {unit}</span>" if unit else "")
    figure.update_layout(
        template="none",
        height=height,
        font={"family": FONT, "size": 13, "color": INK},
        title={"text": heading, "font": {"size": 15}, "x": 0, "xref": "container", "y": 1, "yanchor": "top"},
        title_pad={"t": 8, "l": 2},
        margin={"l": 44, "r": 14, "t": 44, "b": 36},
        hovermode="x unified",
        dragmode=False,
        hoverlabel={"bgcolor": "white", "bordercolor": GRID, "font": {"size": 12}},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom", "font": {"size": 12}},
        paper_bgcolor="white",
        plot_bgcolor="white",
    )
    axis = {"gridcolor": GRID, "zeroline": False, "tickfont": {"color": FAINT, "size": 12}, "automargin": True}
    figure.update_xaxes(**axis, showgrid=False, ticks="outside", tickcolor=GRID, tickformat="~s", nticks=7)
    return figure.update_yaxes(**axis, nticks=6)
