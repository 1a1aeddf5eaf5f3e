"""Warehouse rows to contacts: what changed is sent, and what became of every row is known."""
