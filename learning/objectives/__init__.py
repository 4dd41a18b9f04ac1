"""What a site minimises: supervised turns, preferences, rewards, and the terms that hold sites together."""
