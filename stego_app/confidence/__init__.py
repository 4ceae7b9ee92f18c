"""Where not to trust: an expected rate of agreement for every pixel, learnt without labels."""

from stego_app.confidence.agreement import Agreement, Reliability
from stego_app.confidence.maps import Trust, agreement_maps, confidence_of, mean_confidence

__all__ = ["Agreement", "Reliability", "Trust", "agreement_maps", "confidence_of", "mean_confidence"]
