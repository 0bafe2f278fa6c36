"""Programs of users, as a strict type checker sees them: what is right is accepted, what is misspelt refused."""
