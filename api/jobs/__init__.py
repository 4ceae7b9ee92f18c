"""Jobs: work on an archive of images that outlives its request, the service and its workers."""
