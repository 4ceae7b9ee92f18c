"""A few labels: the classes that a person has drawn in some images, for all images."""

from stego_app.teaching.teach import Taught, teach

__all__ = ["Taught", "teach"]
