"""A synthetic world: people of known tastes choose among drawn images of known attributes."""
