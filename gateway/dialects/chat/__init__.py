"""OpenAI's chats and completions: the form that all others are turned into."""
