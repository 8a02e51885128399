"""What of a user's function a CUDA graph can hold: tried, and explained in terms of the user's own lines."""
