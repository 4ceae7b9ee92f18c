"""Reports a person reads: one HTML file that opens offline, with its pictures inside."""
