"""From a model and a batch to the operations of a step, with their work and their durations."""
