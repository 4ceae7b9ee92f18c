"""Patch features of a folder of images: extraction, the cache on disk, nearest images."""
