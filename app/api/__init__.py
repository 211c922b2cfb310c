"""The only room that knows FastAPI, status codes and server-sent events as they leave."""
