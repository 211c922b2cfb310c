"""Content safety: the detectors, the ensemble, the streaming window."""
