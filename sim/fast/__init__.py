"""The fast machine: the reference's model without an event queue, wherever program order decides every time."""
