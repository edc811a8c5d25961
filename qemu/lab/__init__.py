"""What the ARM boot tests are made of: packages, images, machines, the gateway beside them."""
