"""Commands of this room; what they need is imported when they run, so that `stego --help` stays instant."""
