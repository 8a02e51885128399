"""A Llama-type decoder with random weights and a paged KV cache: what a lean serving engine executes."""
