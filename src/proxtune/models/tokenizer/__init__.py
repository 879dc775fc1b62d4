"""The tokenizer of a model: read and checked, agreed on with the model, and saved."""
