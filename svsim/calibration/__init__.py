"""Step times of real hardware: one decoder's forward pass timed over batch, new tokens and context."""
