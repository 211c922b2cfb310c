"""The stages of a request, one file each, and `serve`, the only file that knows their order."""
