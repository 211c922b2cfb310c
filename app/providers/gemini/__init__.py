"""Gemini's generateContent. Sources: ai.google.dev/api (generate-content, embeddings, tokens)."""
