"""What a head is: its architecture, settings, losses and outputs."""
