"""Published methods that the default is measured against, written from their papers, on the same cached patch features."""
