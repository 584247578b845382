"""The commands of `talkingmachines`."""
