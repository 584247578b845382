"""From a folder of videos to clips that the models can learn from, stage by stage."""
