"""Lidar scans: their readers and labels, features of points, classes found in them without labels, pictures."""
