"""Results as plain records, and every formula over them."""
