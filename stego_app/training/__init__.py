"""Training of the segmentation head with STEGO's objective, and what can be said about the result without labels."""
