"""The languages of annotation tools, so that they connect to the service as it is."""
