"""What happened when: spans as columns, the quantities read from them, and their files and pictures."""
