"""What commands take: options that several share, paths given by mistake, files that they write."""
