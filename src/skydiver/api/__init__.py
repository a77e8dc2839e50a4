"""REST and WebSocket API for people, scripts and the UI."""
