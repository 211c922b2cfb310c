"""Model-based detectors: the process that runs the models, and the members of an ensemble that ask it.

`wire` is what the two say to each other. `client`, `members` and `keeper` run in the workers and need nothing beyond
the gateway's own dependencies; `service`, `engine` and what they import run in the detector process and need the
`safety` extra.
"""
