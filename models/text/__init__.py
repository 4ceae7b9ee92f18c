"""Text towers: words as vectors that can be compared with patches, by a bridge into a backbone's patch space or by a CLIP of its own."""
