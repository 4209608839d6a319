"""How each kind of node is computed: one file for each kind."""
