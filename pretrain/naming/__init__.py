"""The stage that fits a bridge from words to a backbone's patches, on images of which only a name is known."""
