"""What a frozen backbone knows: k-NN, linear probes, k-means of patches, and pictures."""

from pretrain.probe.run import ProbeReport, probe
from pretrain.probe.settings import ProbeSettings, make_settings

__all__ = ["ProbeReport", "ProbeSettings", "make_settings", "probe"]
