"""Networks of torchvision and timm that goldens were made of."""
