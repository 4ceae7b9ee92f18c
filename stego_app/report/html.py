"""One HTML page with everything inside it: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from stego_app.valid_text import text_name

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2126;--soft:#5d6771;--line:#d9dee3;--paper:#fff;--warn:#8a4b00}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--soft:#9aa5b0;--line:#353c44;--paper:#15181c;--warn:#ffb866}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1080px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin:0 0 .3rem}h2{font-size:1.15rem;margin:2.2rem 0 .6rem;border-top:1px solid var(--line);padding-top:1rem}
p.lead{color:var(--soft);margin:0 0 1rem}img{max-width:100%;height:auto;border-radius:4px}
table{border-collapse:collapse;font-size:.92rem}td,th{padding:.25rem .8rem .25rem 0;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
.thumbs{display:flex;flex-wrap:wrap;gap:.7rem}.thumbs figure{max-width:180px}.thumbs img{display:block;max-height:180px}
p.how{color:var(--soft);font-size:.9rem;max-width:62rem}.insight{margin:1rem 0}.insight p{margin:.2rem 0 .5rem}
.pairs{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:1rem}figure{margin:0}figcaption{color:var(--soft);font-size:.85rem;overflow-wrap:anywhere}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1rem;font-size:.92rem}
.swatch{display:inline-block;width:.9em;height:.9em;border-radius:3px;margin-right:.35em;vertical-align:-.1em}
ul.findings li{margin:.3rem 0}li.warning{color:var(--warn)}pre{overflow:auto;font-size:.82rem;border:1px solid var(--line);padding:.7rem;border-radius:4px}
"""


def page(title: str, lead: str, sections: Iterable[tuple[str, str]]) -> str:
    """A whole page from a title, a sentence, and (heading, HTML) sections; empty sections are left out. Names of files in it need not be valid text."""
    body = "".join(f"<section><h2>{escape(heading)}</h2>{content}</section>" for heading, content in sections if content)
    return text_name(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1><p class=lead>{escape(lead)}</p>{body}</body></html>\n"
    )


def picture(png: bytes, alt: str, kind: str = "png") -> str:
    """An image inside the page."""
    return f'<img alt="{escape(alt, quote=True)}" src="data:image/{kind};base64,{base64.b64encode(png).decode()}">'


def reduced(image: npt.NDArray[np.uint8], side: int = 960) -> npt.NDArray[np.uint8]:
    """``image`` (H, W, 3) with its longer side at most ``side`` pixels: all that a page needs of it while others are collected."""
    shown = Image.fromarray(image)
    shown.thumbnail((side, side))
    return np.array(shown)


def photo(image: npt.NDArray[np.uint8], alt: str, width: int = 640) -> str:
    """A photograph or overlay (H, W, 3) inside the page, as JPEG of at most ``width`` pixels."""
    shown = Image.fromarray(image)
    shown.thumbnail((width, width * 2))
    buffer = BytesIO()
    shown.save(buffer, "JPEG", quality=82)
    return picture(buffer.getvalue(), alt, "jpeg")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A plain table; every cell is escaped."""
    head = "".join(f"<th>{escape(str(cell))}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if body else ""


def findings(lines: Iterable[str], *, warning: bool = False) -> str:
    """A list of sentences."""
    items = "".join(f"<li{' class=warning' if warning else ''}>{escape(line)}</li>" for line in lines)
    return f"<ul class=findings>{items}</ul>" if items else ""


def legend(names: Sequence[str], colors: Sequence[Sequence[int]], shares: Sequence[float]) -> str:
    """Names with their colours and shares."""
    entries = (
        f'<span><span class=swatch style="background:rgb({color[0]},{color[1]},{color[2]})"></span>{escape(name)} <small>{share:.1%}</small></span>'
        for name, color, share in zip(names, colors, shares, strict=True)
    )
    return f"<div class=legend>{''.join(entries)}</div>"


def thumbnails(items: Iterable[tuple[str, npt.NDArray[np.uint8]]]) -> str:
    """Small pictures in a row for each (caption, image)."""
    cells = (f"<figure>{photo(image, caption, max(image.shape[:2]))}<figcaption>{escape(caption)}</figcaption></figure>" for caption, image in items)
    body = "".join(cells)
    return f"<div class=thumbs>{body}</div>" if body else ""


def pairs(items: Iterable[tuple[str, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]) -> str:
    """Picture and overlay side by side for each (caption, image, overlay)."""
    cells = []
    for caption, image, overlay in items:
        both = photo(np.concatenate([image, overlay], axis=1), caption, 960)
        cells.append(f"<figure>{both}<figcaption>{escape(caption)}</figcaption></figure>")
    return f"<div class=pairs>{''.join(cells)}</div>" if cells else ""
