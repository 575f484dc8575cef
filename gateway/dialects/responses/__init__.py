"""OpenAI's Responses: its requests, its events and errors, and the way to a chat and back."""
