"""`python -m launch.train_lora`, as the documentation has always said it: `launch.training.command`."""

from __future__ import annotations

from launch.training.command import main

if __name__ == "__main__":
    main()
