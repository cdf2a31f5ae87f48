"""What the page of the command line is about: a force that depends on the speed."""

import numpy as np


def drag(velocity, coefficient):
    speed = np.hypot(velocity[0], velocity[1])
    if speed > 10.0:
        return coefficient * speed**2
    return coefficient * speed
