"""What tests share: stacks to ask, folders to read, programs to start."""
