"""The photos nearest to a photo: searched, shown on a contact sheet, scored."""
