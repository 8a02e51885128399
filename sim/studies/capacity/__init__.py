"""How much load a server takes while its clients still get what they were promised."""
