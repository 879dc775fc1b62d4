"""Tasks: from examples to token ids, and from logits back to the user's words."""
