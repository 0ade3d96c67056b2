"""The analytic model: renewal walks instead of a loop."""
