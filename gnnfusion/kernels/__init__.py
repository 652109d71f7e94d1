"""The hot numeric loops, each beside the plain reference that it is held to."""
