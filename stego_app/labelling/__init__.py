"""A folder of images in, a folder of label maps out: resumable, and with every failure listed."""

from stego_app.labelling.folder import label_folder, label_images
from stego_app.labelling.settings import LabelSettings
from stego_app.labelling.summary import LabelSummary

__all__ = ["LabelSettings", "LabelSummary", "label_folder", "label_images"]
