"""What can be said about a finished segmenter and its images without labels: measured, in plain words, with pictures."""
