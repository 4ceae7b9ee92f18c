"""Names for classes: from words by a text tower, or from a mapping file made by hand."""
