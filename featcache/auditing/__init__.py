"""What cached features say about the data: wrong labels, copies, odd photos, classes that overlap."""
