"""Banks of modulations beside frozen weights, which a network trained elsewhere writes and reads."""
