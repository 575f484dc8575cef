"""What a running stack does, as it goes on: `status`, `top`, `logs`."""
