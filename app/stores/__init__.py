"""What outlives a request: implementations of the protocols that the stages declare."""
