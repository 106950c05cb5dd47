"""Files: what is read from disk and written to it. Imports no other room than `config`, no torch and no host."""
