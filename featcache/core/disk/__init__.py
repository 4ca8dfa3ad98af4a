"""What reaches a disk: written durably, replaced at one blow, locked, cleared up, and refused in one sentence."""
