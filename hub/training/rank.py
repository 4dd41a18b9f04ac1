"""What torchrun starts on a node: ties the process to torchrun's life, then becomes the worker.

In this order, because importing torch and DeepSpeed takes many seconds, and torchrun puts its workers into sessions of
their own: a worker whose torchrun is killed while it still imports would go on without anybody.
"""

from __future__ import annotations

import os
import sys

from hub.guard import die_with_parent

INIT = 1  # adopts the children of a process that died

if __name__ == "__main__":
    die_with_parent()
    if os.getppid() == INIT:
        sys.exit("torchrun is gone already")
    from hub.training.worker import main

    main(sys.argv[-1])
