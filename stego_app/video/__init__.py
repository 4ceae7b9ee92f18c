"""Video clips: reading them, labels that are steady in time, how much labels flicker, and overlays that play."""
