"""Why a photo was taken for what: heat over the photo, and the training photos it looks like."""
