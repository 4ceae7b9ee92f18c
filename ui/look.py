"""The look of the page: system fonts, calm colours, light and dark; no file from elsewhere."""

from __future__ import annotations

import ui.offline  # noqa: F401 - before Gradio
from ui.script import PICK

import gradio as gr  # isort: skip

_SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Helvetica Neue", "Arial", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def theme() -> gr.themes.Base:
    """Gradio's plain theme with system fonts and one accent."""
    return gr.themes.Base(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        radius_size="md",
        font=[gr.themes.Font(name) for name in _SANS],
        font_mono=[gr.themes.Font(name) for name in _MONO],
    ).set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_200",
        block_title_text_weight="500",
        color_accent="*primary_700",
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_border_width="1px",
        block_shadow="none",
        block_label_background_fill="*background_fill_primary",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_text_color="white",
        slider_color="*primary_600",
    )


CSS = """
.gradio-container { width: 100% !important; max-width: 1240px !important; margin: 0 auto !important; }
#top { align-items: center; flex-wrap: wrap; gap: 10px; }
#head { padding: 10px 2px 2px; flex: 1 1 420px; }
#head h1 { font-size: 1.55rem; font-weight: 650; letter-spacing: -.015em; margin: 0 0 2px; }
#head p { margin: 0; color: var(--body-text-color-subdued); }
.dark { --color-accent: var(--primary-400); }
.lead { padding: 2px; }
.lead p { margin: 0; }
.status *, #foot p { color: var(--body-text-color-subdued); }
.status { min-height: 1.5em; padding: 0 2px; font-variant-numeric: tabular-nums; }
.status p, #foot p { margin: 0; font-size: .9rem; }
.status strong { color: var(--body-text-color); }
#foot { padding: 10px 2px 18px; }
#segments .empty, #overlay .empty { min-height: 320px; flex-direction: column; gap: 10px; }
#segments .empty::after, #overlay .empty::after { content: "The segments will appear here"; color: var(--body-text-color-subdued); font-size: .95rem; }
#segments:not(.fullscreen) .image-container > img { max-height: min(72vh, 660px); object-fit: contain; }
#segments .image-container, .clickable img, #overlay img { cursor: pointer; }
.clickable img { cursor: crosshair; }
#overlay:not(.fullscreen) img, #pair-view-0 img, #pair-view-1 img { max-height: min(72vh, 660px); }
#segments .legend { gap: 6px; padding: 10px; justify-content: flex-start; flex-wrap: wrap; }
#segments .legend-item { padding: 3px 9px; border-radius: 999px; font-size: .88rem; font-variant-numeric: tabular-nums; cursor: pointer; }
#examples .label { font-size: .88rem; color: var(--body-text-color-subdued); }
#examples .label svg { display: none; }
#examples .gallery { display: grid; grid-template-columns: repeat(5, 1fr); gap: 8px; }
#examples .gallery-item, #examples .gallery-item > span, #examples .gallery-item .container { display: block; width: 100%; height: 64px; max-width: none; }
#examples .gallery-item img { width: 100%; height: 100%; object-fit: cover; }
.tight { gap: 8px !important; align-items: stretch; }
#rename { height: auto; }
.low { align-items: flex-end; }
.low > button { min-height: 44px; }
.low .lead { align-self: center; flex: 1 1 360px; }
#take-away { padding-top: 6px; }
#color { align-self: stretch; }
#color button { width: 44px; height: 100%; min-height: 34px; border-radius: var(--radius-md); }
#folder-progress progress { width: 100%; height: 8px; appearance: none; border: 0; border-radius: 4px; overflow: hidden; }
#folder-progress progress { background: var(--border-color-primary); }
#folder-progress progress::-webkit-progress-bar { background: var(--border-color-primary); }
#folder-progress progress::-webkit-progress-value { background: var(--primary-600); }
#folder-progress progress::-moz-progress-bar { background: var(--primary-600); }
#folder-progress summary, #folder-progress li, #album-legend p { font-size: .9rem; color: var(--body-text-color-subdued); }
#folder-progress p { margin: 2px 0 0; font-size: .9rem; color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; }
#feature-gallery .grid-wrap { max-height: none; height: auto; }
#feature-gallery .thumbnail-lg { aspect-ratio: auto; height: auto; }
#album-legend ul.classes { list-style: none; margin: 0; padding: 0; display: grid; gap: 4px; }
#album-legend ul.classes li { display: grid; grid-template-columns: minmax(80px, 160px) 1fr 52px; gap: 10px; align-items: center; font-size: .9rem; }
#album-legend .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
#album-legend .track { background: var(--background-fill-secondary); border-radius: 4px; height: 12px; overflow: hidden; }
#album-legend .bar { display: block; height: 100%; }
#album-legend .share { text-align: right; font-variant-numeric: tabular-nums; color: var(--body-text-color-subdued); }
:focus-visible { outline: 2px solid var(--primary-600) !important; outline-offset: 2px; }
@media (max-width: 700px) {
  .board { display: flex; flex-direction: column; }
  .left, .right { display: contents !important; }
  .board > .column { width: 100%; min-width: 0 !important; }
  #photo-part { order: 1; } #result-part { order: 2; } #settings-part { order: 3; } #editing-part { order: 4; }
  .gradio-container { padding: 8px !important; }
  .gradio-container .fillable { padding: 8px !important; }
  #tabs > .tab-wrapper button { padding: 0 4px; font-size: .78rem; }
  #head h1 { font-size: 1.3rem; }
  #segments .empty, #overlay .empty { min-height: 180px; }
}
"""

HEAD = f'<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex"><script>{PICK}</script>'
