"""Pretraining on lidar scans: rays as questions, batches by step, local occupancy, probes of points."""
