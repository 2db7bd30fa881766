"""Waiting OpenMP threads sleep: on a busy machine, two that spin run many times slower than one."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
