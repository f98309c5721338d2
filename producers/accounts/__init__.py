"""People: accounts, roles, sessions, links to copy, and the log of who did what."""
