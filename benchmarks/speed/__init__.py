"""Speed, as ratios measured within one run: one row a file, one program for all."""
