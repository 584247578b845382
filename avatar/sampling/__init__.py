"""How a chunk is denoised and how chunks follow one another; shared by serving and training."""
