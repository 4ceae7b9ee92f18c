"""The page's own script: a click on a segment in the annotated picture is a click on its entry in the legend."""

from __future__ import annotations

# Gradio's picture lays one transparent image a class over the photo, in the order of the legend, and hears clicks on the
# legend only. The class at a point is the one whose image is not transparent there.
PICK = """
(() => {
  const opaque = (image, x, y) => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 1;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, -x, -y);
    return context.getImageData(0, 0, 1, 1).data[3] > 0;
  };
  const entryAt = (event) => {
    const box = event.target.closest?.("#segments .image-container");
    if (!box || event.target.closest("button")) return null;
    const masks = [...box.querySelectorAll("img.mask")];
    if (!masks.length || !masks[0].naturalWidth) return null;
    const frame = masks[0].getBoundingClientRect();
    const { naturalWidth: width, naturalHeight: height } = masks[0];
    const scale = Math.min(frame.width / width, frame.height / height);
    const x = Math.floor((event.clientX - frame.left - (frame.width - scale * width) / 2) / scale);
    const y = Math.floor((event.clientY - frame.top - (frame.height - scale * height) / 2) / scale);
    if (x < 0 || y < 0 || x >= width || y >= height) return null;
    const index = masks.findIndex((mask) => opaque(mask, x, y));
    return index < 0 ? null : document.querySelectorAll("#segments .legend-item")[index];
  };
  document.addEventListener("click", (event) => entryAt(event)?.click());
})();
"""
