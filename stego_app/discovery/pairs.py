"""What is counted on a codebook, and the spectra that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from stego_app.discovery.spectral import Matrix, Spectrum, spectrum

IMAGE_WEIGHT = 0.1
"""How much patches of one image count against being alike, where nothing is known: enough that a class rather lies within images than
between them where both are as good. At 0.25 classes that are seen in few images are lost."""


@dataclass(frozen=True)
class Pairs:
    """Of M codes: ``joint`` (M, M), the distribution of positive pairs; ``same_image`` (M, M), that of pairs of patches of one image."""

    joint: Matrix
    same_image: Matrix
    _spectra: dict[float, Spectrum] = field(default_factory=dict, repr=False, compare=False)

    @property
    def size(self) -> int:
        """M."""
        return len(self.joint)

    def eigen(self, image_weight: float = IMAGE_WEIGHT) -> Spectrum:
        """See `spectral.spectrum`; kept, since each is asked for many times."""
        if image_weight not in self._spectra:
            self._spectra[image_weight] = spectrum(self.joint, self.same_image, image_weight)
        return self._spectra[image_weight]
