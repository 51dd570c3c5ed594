"""One run: training, recording, its folder, going on."""
