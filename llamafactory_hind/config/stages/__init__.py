"""The record of each stage: `LABEL`, `ROWS` (pairs or prompts), `TAKES` (shared keys), `Arguments` and `problems`."""
