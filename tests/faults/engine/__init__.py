"""An engine that answers wrongly, stands still or ends."""
