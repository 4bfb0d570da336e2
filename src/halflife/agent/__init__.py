"""Memory for agents: the facade that a user opens, and the published systems on the same engine."""
