"""Text towers: words as vectors that can be compared with patches. `bridge` maps sentence vectors into a backbone's patch space; `clip` brings a tower of its own."""
