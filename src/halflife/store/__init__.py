"""The durable engine: traces, index, history, erasure. No torch, no model."""
