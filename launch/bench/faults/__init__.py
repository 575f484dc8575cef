"""What happens while adapters change, programs die or slots are short, under load."""
