"""A comparison as one file that can be sent and opened without a studio."""
