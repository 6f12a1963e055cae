"""What a script prints last, run on so many devices of this processor."""

import os
import subprocess
import sys


def last_word(script, devices, folder):
    """The last word of a script in which COUNT stands for the number of devices.

    `folder` goes on its path.
    """
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = {
        **os.environ,
        "XLA_FLAGS": flags,
        "PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    found = subprocess.run(
        [sys.executable, "-c", script.replace("COUNT", str(devices))],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.split()[-1]
