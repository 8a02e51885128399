"""The suite: a function for each thing that is said to be, or not to be, allowed in a graph."""
