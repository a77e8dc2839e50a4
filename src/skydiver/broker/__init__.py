"""The privileged half of the agent: its verbs, and the client that asks them."""
