"""Detectors that are services: Azure AI Content Safety, OpenAI's moderation endpoint, a language model that judges.

`service` is how a service is reached, `azure` and `moderation` speak two of them, `formats` and `guard_model` the
language models, `members` has what a guard may name.
"""
