"""One page that tells all of a run: settings, columns, scores and pictures in one file for a browser."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from jaxmlp.files import write_text

PAGE = "report.html"
METAS = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .2rem .8rem; border-bottom: 1px solid #ddd }
td:not(:first-child), th:not(:first-child) { text-align: right }
img { max-width: 100%; display: block; margin: 1rem 0 }
pre { background: #f6f6f6; padding: .6rem; overflow-x: auto }"""


def write_page(
    folder: Path,
    title: str,
    tables: Sequence[tuple[str, Sequence[Sequence[str]]]],
    notes: Sequence[str],
    net: str,
) -> None:
    """Write the page of a run; its pictures are taken from the folder and put into it."""
    parts = [f"<h1>{html.escape(title)}</h1>"]
    parts += [f"<p>{html.escape(note)}</p>" for note in notes]
    for heading, rows in tables:
        lines = [
            "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in row)
            for row, kind in zip(rows, ["th", *["td"] * len(rows)], strict=False)
        ]
        parts.append(f"<h2>{heading}</h2><table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>")
    parts.append(f"<h2>Network</h2><pre>{html.escape(net)}</pre>")
    for path in sorted(folder.glob("*.png")):
        data = base64.b64encode(path.read_bytes()).decode()
        parts.append(f'<h2>{path.stem}</h2><img alt="{path.stem}" src="data:image/png;base64,{data}">')
    head = f"{METAS}<title>{html.escape(title)}</title><style>{STYLE}</style>"
    write_text(
        folder / PAGE,
        f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n",
    )
