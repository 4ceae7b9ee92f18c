"""The command line, one command a file. Each imports what it needs inside its function, so that ``--help`` is instant."""
