"""The HTTP gateway: requests become events of the log, and its state can be read."""
