"""The doctor's findings as one self-contained HTML page."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

from .findings import Diagnosis, Finding, Passed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["page"]

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2937; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.subject { color: #6b7280; margin-top: .2rem; }
.headline { font-size: 1.1rem; font-weight: 600; padding: .7rem 1rem; border-radius: .4rem; background: #eaf3ea; }
.headline.bad { background: #fbeee0; }
.finding { border-left: .3rem solid #9ca3af; padding: .1rem 1rem; margin: 1.2rem 0; }
.finding.fault { border-color: #c0392b; } .finding.warning { border-color: #d9731a; }
.finding h3 { margin: .2rem 0; font-size: 1.05rem; } .finding h3 span { font-weight: 400; color: #6b7280; font-size: .85rem; }
dl { display: grid; grid-template-columns: 4rem 1fr; gap: .2rem .8rem; margin: .4rem 0; }
dt { color: #6b7280; } dd { margin: 0; }
table { border-collapse: collapse; } td { padding: .15rem 1rem .15rem 0; vertical-align: top; }
td:first-child { color: #6b7280; }
figure { margin: 1.2rem 0; } figcaption { font-weight: 600; } img { max-width: 100%; }
""".strip()


def page(report: Diagnosis) -> str:
    """The HTML text. Pictures are left out, with a word, where matplotlib is not installed."""
    bad = "" if report.ok else " bad"
    parts = [
        f'<p class="headline{bad}">{escape(report.headline())} <small>({report.seconds:.1f} s)</small></p>',
        *[_finding(number, finding) for number, finding in enumerate(report.findings, 1)],
        _table("In order", report.passed),
        _table("Not judged", report.skipped),
        _pictures(report),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>fastnet doctor</title>\n'
        f"<style>\n{STYLE}\n</style></head><body>\n<h1>fastnet doctor</h1>\n"
        f'<p class="subject">{escape(report.subject)}</p>\n' + "\n".join(filter(None, parts)) + "\n</body></html>\n"
    )


def _finding(number: int, finding: Finding) -> str:
    rows = "".join(
        f"<dt>{name}</dt><dd>{escape(text)}</dd>"
        for name, text in (("found", finding.evidence), ("why", finding.reason), ("do", finding.advice))
    )
    head = f"{number}. {escape(finding.title)} <span>{finding.severity}, {escape(finding.check)}</span>"
    return f'<div class="finding {finding.severity}"><h3>{head}</h3><dl>{rows}</dl></div>'


def _table(title: str, rows: list[Passed]) -> str:
    if not rows:
        return ""
    lines = "".join(f"<tr><td>{escape(row.check)}</td><td>{escape(row.sentence)}</td></tr>" for row in rows)
    return f"<h2>{title}</h2>\n<table>{lines}</table>"


def _pictures(report: Diagnosis) -> str:
    parts = []
    for picture in report.pictures:
        try:
            image = _png(picture.draw())
        except ImportError as error:
            return f"<p>No pictures: {escape(str(error))}</p>"
        title = escape(picture.title)
        shown = f'<img alt="{title}" src="data:image/png;base64,{image}">'
        parts.append(f"<figure><figcaption>{title}</figcaption>{shown}</figure>")
    return "<h2>Pictures</h2>\n" + "\n".join(parts) if parts else ""


def _png(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    return base64.b64encode(stream.getvalue()).decode()
