"""What Jupyter shows of results, problems and rules."""

import base64
import html
import io

DPI = 80


def as_html(facts: dict[str, str], figure=None) -> str:
    """A table of texts by name, those that are empty left out, and a figure as a picture below it."""
    rows = "".join(_row(name.replace("_", " "), text) for name, text in facts.items() if text)
    return f"<table>{rows}</table>{'' if figure is None else _picture(figure)}"


def _row(name, text) -> str:
    cell = f'<td style="text-align:left"><pre style="margin:0">{html.escape(text)}</pre></td>'
    return f'<tr><th style="text-align:left;vertical-align:top">{html.escape(name)}</th>{cell}</tr>'


def _picture(figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img style="max-width:100%" src="data:image/png;base64,{data}"/>'
