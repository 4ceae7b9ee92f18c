"""Who may do what, how often, and from where: API keys, rate limits, and fetching of images by address."""
