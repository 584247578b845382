"""Training of models that no single device holds: sharded, and planned before it starts."""
